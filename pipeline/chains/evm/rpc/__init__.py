"""Nodes of EVM chains: balances, fees, blocks, logs, broadcasts."""
