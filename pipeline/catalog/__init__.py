"""Chains and assets of the database, opened as providers."""
