-- Each old wallet as it was read and mapped (pipeline/admin/adopt_wallets.py).
COPY adopting (
    id, user_id, chain_id, address, old_address, derivation_index, needs_gas, needs_consolidation, token_balance, coin_balance,
    last_sync, created_at, updated_at
) FROM STDIN;
