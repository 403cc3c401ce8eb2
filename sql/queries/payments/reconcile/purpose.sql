-- Which payment of ours a transaction was that moved one thing and no more: the kind, the wallet that it served, and the asset. As
-- gas counts a coin from a sender that pays gas to a customer's wallet, as consolidation a token of a customer's wallet to where
-- others go. No row: none of ours, or one that was given up.
SELECT found.kind, found.wallet_id, found.asset_id
  FROM (
        SELECT 'gas' AS kind, w.id AS wallet_id, coin.id AS asset_id
          FROM wallets w
          JOIN asset_on_chain coin ON coin.chain_id = w.chain_id AND coin.contract_address IS NULL
         WHERE %(contract)s::text IS NULL AND w.chain_id = %(chain_id)s AND w.address = %(receiver)s
           AND w.derivation_index >= 10 AND w.address <> %(sender)s
           AND EXISTS (SELECT FROM transfers t
                        WHERE t.chain_id = w.chain_id AND t.kind = 'gas' AND t.from_address = %(sender)s AND NOT t.found_on_chain)
        UNION ALL
        SELECT 'consolidation', w.id, a.id
          FROM wallets w
          JOIN asset_on_chain a ON a.chain_id = w.chain_id AND a.contract_address = %(contract)s::text
         WHERE w.chain_id = %(chain_id)s AND w.address = %(sender)s
           AND w.derivation_index >= 10 AND w.address <> %(receiver)s
           AND EXISTS (SELECT FROM transfers t
                        WHERE t.chain_id = w.chain_id AND t.kind = 'consolidation' AND t.to_address = %(receiver)s
                          AND NOT t.found_on_chain)
        UNION ALL
        SELECT 'gap', NULL, coin.id
          FROM asset_on_chain coin
         WHERE %(contract)s::text IS NULL AND coin.chain_id = %(chain_id)s AND coin.contract_address IS NULL
           AND %(sender)s::text = %(receiver)s::text AND %(amount)s = %(gap_amount)s) found
 WHERE NOT EXISTS (SELECT FROM chain_transactions known WHERE known.chain_id = %(chain_id)s AND known.txid = %(txid)s);
