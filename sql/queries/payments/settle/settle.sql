-- One final block's worth of payments, settled together: attempt and payments; their jobs follow in release_jobs.sql. A row of
-- `facts` is a payment that an attempt decides; an attempt that carries several is 'final' if any of them is. `state` is 'final'
-- where the money has moved, else 'reverted' with the reason; a final one names the place of its effect, has a reason, too, where
-- it moved otherwise than intended, and says what `arrived` where that is not its amount. Everything here is 'included' already
-- (include.sql ran first in the same transaction); a row that another worker settled before is left alone.
-- The other attempts of the payment shared the nonce that is used now: they can never land.
WITH facts AS (
    SELECT * FROM unnest(%(attempt_ids)s::bigint[], %(transfer_ids)s::bigint[], %(states)s::text[], %(fees)s::numeric[],
                         %(errors)s::text[], %(arrived)s::numeric[], %(places)s::text[])
        AS f (attempt_id, transfer_id, state, fee, error, arrived, place)
), attempts AS (
    UPDATE chain_transactions a
       SET state = decided.state, fee_paid = decided.fee
      FROM (SELECT attempt_id, min(fee) AS fee, CASE WHEN bool_or(state = 'final') THEN 'final' ELSE 'reverted' END AS state
              FROM facts GROUP BY attempt_id) decided
     WHERE a.id = decided.attempt_id AND a.state = 'included'
    RETURNING a.id, a.txid
), settled AS (
    UPDATE transfers t
       SET state = facts.state, fee_paid = share_of_fee(t, facts.fee), error_message = facts.error, arrived = facts.arrived,
           place = CASE WHEN facts.state = 'final' THEN facts.place END,
           settled_at = clock_timestamp(), replace_wanted_at = NULL
      FROM facts
      JOIN attempts ON attempts.id = facts.attempt_id
     WHERE t.id = facts.transfer_id AND t.state = 'included'
    RETURNING t.id, t.job_id, t.bundle_id, attempts.id AS attempt_id, attempts.txid, facts.state, facts.error
), siblings AS (
    UPDATE chain_transactions s
       SET state = 'replaced',
           block_number = NULL, block_id = NULL, block_time = NULL,
           last_result = format('%%s has its nonce and is in a final block', settled.txid)
      FROM settled
     WHERE s.bundle_id = settled.bundle_id AND s.id <> settled.attempt_id AND s.state IN ('broadcasting', 'included')
    RETURNING s.id
)
SELECT settled.attempt_id, settled.id AS transfer_id, settled.job_id, settled.state, settled.error,
       (SELECT count(*) FROM siblings) AS replaced
  FROM settled;
