"""Pool, LISTEN connection, migrations, statements and the embedded server. Knows nothing of wallets."""
