-- The payment that is first in the nonce queue of its sender: since when nothing of that sender has got into a block, why it could
-- not be replaced, what a node said of its newest attempt, and how many payments wait behind it.
WITH first AS (
    SELECT t.chain_id, t.from_address AS sender, t.error_message, t.replace_wanted_at, min(a.nonce) AS nonce,
           min(a.first_broadcast_at) AS sent_at, (array_agg(a.last_result ORDER BY a.attempt DESC))[1] AS last_result,
           count(*) AS attempts, max(a.fee_cap) AS fee_cap
      FROM transfers t
      JOIN chain_transactions a ON a.bundle_id = t.bundle_id AND a.state = 'broadcasting'
     WHERE t.id = %(transfer_id)s AND t.state = 'broadcasting'
     GROUP BY t.id
)
SELECT greatest(first.sent_at,
                (SELECT x.block_time FROM chain_transactions x
                  WHERE x.chain_id = first.chain_id AND x.sender = first.sender AND x.nonce < first.nonce
                    AND x.block_time IS NOT NULL
                  ORDER BY x.nonce DESC LIMIT 1)) AS since,
       first.error_message, first.replace_wanted_at, first.last_result, first.attempts, first.fee_cap,
       (SELECT count(DISTINCT x.bundle_id) FROM chain_transactions x
         WHERE x.chain_id = first.chain_id AND x.sender = first.sender AND x.nonce > first.nonce
           AND x.state = 'broadcasting') AS behind
  FROM first;
