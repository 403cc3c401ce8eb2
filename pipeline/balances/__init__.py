"""Balances: due, read, stored."""
