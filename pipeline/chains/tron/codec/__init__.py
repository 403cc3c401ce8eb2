"""Pure: TRON addresses and transactions, built and read."""
