"""Pure: EVM addresses, ABI and transactions, built and read."""
