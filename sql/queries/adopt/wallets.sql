-- The wallets of an old table, whatever its columns: what is not there is NULL. to_jsonb reads amounts kept as text or as numbers.
SELECT (old.row ->> 'id')::uuid AS id,
       old.row ->> 'address' AS address,
       coalesce(old.row ->> 'network', old.row ->> 'blockchain', old.row ->> 'chain',
                (SELECT chain.name FROM jsonb_to_recordset(%(chains)s::jsonb) AS chain (id text, name text)
                 WHERE chain.id = old.row ->> 'chain_id')) AS network,
       old.row ->> 'user_id' AS user_id,
       coalesce((old.row ->> 'needs_gas')::boolean, false) AS needs_gas,
       coalesce((old.row ->> 'needs_consolidation')::boolean, false) AS needs_consolidation,
       coalesce(old.row ->> 'on_chain_balance', old.row ->> 'balance') AS token_balance,
       coalesce(old.row ->> 'trx_balance', old.row ->> 'native_balance') AS coin_balance,
       coalesce(old.row ->> 'last_sync_at', old.row ->> 'last_sync')::timestamptz AS last_sync,
       (old.row ->> 'created_at')::timestamptz AS created_at,
       (old.row ->> 'updated_at')::timestamptz AS updated_at
FROM (SELECT to_jsonb(t) AS row FROM adopted.{table} t) AS old
ORDER BY created_at, id;
