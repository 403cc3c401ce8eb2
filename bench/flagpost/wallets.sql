-- Customers' wallets that hold 3 TRX: below the threshold of the flag, above that of a top-up, so that a job which finds
-- nothing to do is right; one did, a moment ago. Nobody checks them for an hour.
--
-- Their ids hold their number, so that whoever measures names them. Without triggers, which would do the same row by row.
WITH wallet AS (
    INSERT INTO wallets (id, chain_id, address, derivation_index, gas_flag_fell_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, c.id, 'T' || lpad(n::text, 33, '0'), n + 10, now()
    FROM (SELECT id FROM chains ORDER BY name = 'bench' DESC, id LIMIT 1) c,
         generate_series(%(first)s::integer, %(last)s::integer) AS n
    RETURNING id, chain_id, derivation_index
)
INSERT INTO wallet_balances (wallet_id, asset_on_chain_id, on_chain_balance_raw, on_chain_balance_human, unit, recheck,
                             block_number, last_checked, next_check_at, changed_at)
SELECT w.id, a.id, held.raw, held.raw::numeric / 1000000, 1000000, false, 1, now(),
       now() + interval '1 hour' + w.derivation_index * interval '1 millisecond', now() - interval '1 minute'
FROM wallet w
JOIN asset_on_chain a ON a.chain_id = w.chain_id
CROSS JOIN LATERAL (SELECT CASE WHEN a.contract_address IS NULL THEN '3000000' ELSE '0' END AS raw) held
