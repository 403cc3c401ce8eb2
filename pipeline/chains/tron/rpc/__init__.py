"""Nodes of TRON: balances, fees, blocks, broadcasts."""
