-- Nonces to be filled, with the wallet of the sender if it is a customer's.
SELECT x.id AS nonce_id, x.sender, x.nonce, coin.id AS asset_id, w.id AS wallet_id, w.address AS wallet, w.derivation_index
  FROM nonces x
  JOIN asset_on_chain coin ON coin.chain_id = x.chain_id AND coin.contract_address IS NULL
  LEFT JOIN wallets w ON w.chain_id = x.chain_id AND w.address = x.sender
 WHERE x.chain_id = %(chain_id)s AND x.state = 'void' AND (x.sender = %(gas_address)s) = %(of_gas_wallet)s
 ORDER BY x.sender, x.nonce
 LIMIT %(limit)s;
