-- One final block's worth of payments, settled together: attempt, payment and job. `state` is 'final' where the
-- wanted effect is on the chain, else 'reverted' with the reason. Everything here is 'included' already (include.sql
-- ran first in the same transaction); a row that another worker settled before is left alone.
-- A job that is not waiting for the chain (claimed again by hand) is left to its worker, who finds it paid.
WITH facts AS (
    SELECT * FROM unnest(%(attempt_ids)s::bigint[], %(states)s::text[], %(fees)s::numeric[], %(errors)s::text[])
        AS f (attempt_id, state, fee, error)
), attempts AS (
    UPDATE chain_transactions a
       SET state = facts.state, fee_paid = facts.fee
      FROM facts
     WHERE a.id = facts.attempt_id AND a.state = 'included'
    RETURNING a.id, a.transfer_id, a.txid, a.block_number, facts.state, facts.fee, facts.error
), settled AS (
    UPDATE transfers t
       SET state = attempts.state, fee_paid = attempts.fee, error_message = attempts.error, settled_at = clock_timestamp()
      FROM attempts
     WHERE t.id = attempts.transfer_id AND t.state = 'included'
    RETURNING t.id, t.job_id, t.amount, t.kind, attempts.id AS attempt_id, attempts.txid, attempts.block_number,
              attempts.state, attempts.fee, attempts.error
), jobs AS (
    UPDATE job_logs j
       SET status = CASE WHEN settled.state = 'final' THEN 'completed' ELSE 'failed' END,
           awaiting_chain = false,
           completed_at = clock_timestamp(),
           error_message = settled.error,
           data = j.data || jsonb_strip_nulls(jsonb_build_object(
                'outcome', CASE WHEN settled.state = 'final' THEN 'sent' ELSE 'reverted' END,
                'transfer', settled.id, 'txid', settled.txid, 'block', settled.block_number,
                'amount', settled.amount::text, 'fee', settled.fee::text,
                'duration_ms', round(extract(epoch FROM clock_timestamp() - j.started_at) * 1000, 3)))
      FROM settled
     WHERE j.id = settled.job_id AND j.status = 'active' AND j.awaiting_chain
    RETURNING j.id
)
SELECT settled.attempt_id, settled.id AS transfer_id, settled.state, settled.error,
       EXISTS (SELECT FROM jobs WHERE jobs.id = settled.job_id) AS job_finished
  FROM settled;
