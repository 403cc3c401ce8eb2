-- Payments that are asked for and not out, of a wallet, asset and kind: what they were to do was found on the chain.
SELECT id, job_id FROM transfers
 WHERE wallet_id = %(wallet_id)s AND asset_on_chain_id = %(asset_id)s AND kind = %(kind)s AND state IN ('requested', 'expired')
   AND NOT found_on_chain
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = transfers.bundle_id AND r.state = 'asked');
