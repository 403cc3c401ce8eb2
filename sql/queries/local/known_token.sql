-- The USDT contract of this set-up, if it was deployed before.
SELECT contract_address
FROM asset_on_chain
WHERE chain_id = (SELECT id FROM chains WHERE name = %(chain)s AND network_id = %(network_id)s)
  AND symbol = 'USDT' AND contract_address IS NOT NULL
ORDER BY id
LIMIT 1;
