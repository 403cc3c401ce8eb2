-- Which wallets balance_due names (triggers/balance_due.sql).
--
-- Guarantees: never more than 20 addresses of at most 64 characters, so that a payload stays under the
-- 8,000 bytes of a NOTIFY whatever an operator has written into wallets.address.
CREATE OR REPLACE FUNCTION addresses_of(wallet_ids bigint[]) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(named.address ORDER BY named.id), '[]')
    FROM (
        SELECT w.id, left(w.address, 64) AS address FROM wallets w
        WHERE w.id = ANY (wallet_ids) ORDER BY w.id LIMIT 20
    ) named
$$;
