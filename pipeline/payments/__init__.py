"""Payments: decided, sent, settled, each exactly once."""
