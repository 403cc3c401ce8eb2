-- What each old wallet becomes, for the statements that follow in this transaction.
CREATE TEMPORARY TABLE adopting (
    id uuid PRIMARY KEY, user_id uuid, chain_id integer, address text, old_address text, derivation_index bigint,
    needs_gas boolean, needs_consolidation boolean, token_balance numeric, coin_balance numeric, last_sync timestamptz,
    created_at timestamptz, updated_at timestamptz
) ON COMMIT DROP;
