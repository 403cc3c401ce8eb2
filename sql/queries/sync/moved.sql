-- Makes due at once the balances that moved in a final block and were not read at it or a later one. The arrays run in
-- parallel: an address, the token, the last block in which it moved. Most addresses are nobody's here.
--
-- Guarantees: only next_check_at moves, so flags and recheck stay as they are, and a balance that is being read meanwhile
-- is due again after its store. Locks in the order of id. An address that was not stored in checksummed form is not found
-- and is read at its interval.
WITH due AS MATERIALIZED (
    SELECT b.id
    FROM unnest(%(addresses)s::text[], %(contracts)s::text[], %(blocks)s::bigint[]) AS m (address, contract, block)
    JOIN wallets w ON w.chain_id = %(chain_id)s AND w.address = m.address
    JOIN asset_on_chain a ON a.chain_id = w.chain_id AND a.contract_address = m.contract
    JOIN wallet_balances b ON b.wallet_id = w.id AND b.asset_on_chain_id = a.id
    LEFT JOIN LATERAL (
        SELECT p.block_number FROM sync_pages p
        WHERE p.asset_on_chain_id = b.asset_on_chain_id AND p.last_id >= b.id
        ORDER BY p.last_id LIMIT 1
    ) AS page ON true
    WHERE (b.next_check_at > now() OR b.next_check_at IS NULL)
      AND coalesce(greatest(b.block_number, page.block_number), 0) < m.block
    ORDER BY b.id FOR NO KEY UPDATE OF b
)
UPDATE wallet_balances b SET next_check_at = now() FROM due WHERE b.id = due.id
