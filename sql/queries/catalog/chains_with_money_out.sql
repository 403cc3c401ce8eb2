-- Ids of the chains with payments under way, or nonces to be filled: these are followed to their end even when switched off.
SELECT c.id AS chain_id
  FROM chains c
 WHERE EXISTS (SELECT FROM transfers t
                WHERE t.chain_id = c.id AND t.state NOT IN ('final', 'reverted', 'rejected'))
    OR EXISTS (SELECT FROM nonces x WHERE x.chain_id = c.id AND x.state = 'void');
