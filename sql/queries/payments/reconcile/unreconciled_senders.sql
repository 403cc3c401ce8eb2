-- Senders that may have made transactions which are not recorded, the next few in the order of their addresses; their void nonces
-- are looked for, too. `looked_for`: seconds. `filling`: self-transfers are to use up nonces that a mempool held, and have not
-- yet. `released`: what an operator has released, which says nothing of a difference that arose later. `filled`: how many
-- nonces were declared void in the last day, of its last 1,000.
SELECT c.name AS chain, s.sender, s.first_nonce, next_nonce(s.chain_id, s.sender) AS next_nonce, s.unknown_below,
       CASE WHEN s.released_at > s.unknown_since THEN s.released END AS released,
       extract(epoch FROM clock_timestamp() - s.unknown_since)::float8 AS looked_for,
       ARRAY(SELECT x.nonce FROM nonces x
              WHERE x.chain_id = s.chain_id AND x.sender = s.sender AND x.state = 'void' ORDER BY x.nonce) AS void_nonces,
       EXISTS (SELECT FROM nonces x
                WHERE x.chain_id = s.chain_id AND x.sender = s.sender AND x.nonce < s.unknown_below
                  AND (x.state = 'void' OR (x.state = 'reserved' AND EXISTS (
                      SELECT FROM transfers gap WHERE gap.bundle_id = x.bundle_id AND gap.kind = 'gap')))) AS filling,
       (SELECT count(*)
          FROM (SELECT x.state, x.bundle_id, x.created_at FROM nonces x
                 WHERE x.chain_id = s.chain_id AND x.sender = s.sender ORDER BY x.nonce DESC LIMIT 1000) lately
         WHERE lately.created_at BETWEEN now() - interval '1 day' AND now() + interval '1 minute'
           AND (lately.state = 'void' OR EXISTS (
               SELECT FROM transfers gap WHERE gap.bundle_id = lately.bundle_id AND gap.kind = 'gap'))) AS filled
  FROM senders s
  JOIN chains c ON c.id = s.chain_id
 WHERE s.chain_id = %(chain_id)s AND s.unknown_below IS NOT NULL AND s.sender > %(after)s
 ORDER BY s.sender
 LIMIT %(limit)s;
