"""On-chain transactions that are missing from the database."""
