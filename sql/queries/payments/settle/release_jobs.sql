-- Lets jobs go that no longer wait for the chain: nothing of theirs is out any more. Run in the transaction that
-- settled their payments, under the locks of the jobs.
--
--   something proved dead, or never sent    → back to the queue at once, without using up a retry: nothing was spent on it
--   the same, and nodes refused its bytes,  → back to the queue, and a retry is used up: signed anew it is refused as well
--     or no block took ten of its attempts    until the cause is gone. The last one ends the job as failed, with the reason
--   all settled, all as intended            → completed
--   else                                    → failed; the message names what went wrong with which asset
--
-- A job that is not waiting for the chain (claimed again by hand) is left to its worker, who finds it paid.
WITH payments AS (
    SELECT t.job_id, t.id, t.state, t.amount, t.arrived, t.error_message, s.symbol, s.id AS asset_id, x.txid, x.block_number, x.fee_paid,
           dead.refusal, dead.attempts
      FROM (SELECT DISTINCT id FROM unnest(%(job_ids)s::uuid[]) AS given (id)) asked
     CROSS JOIN LATERAL job_payments(asked.id) p
      JOIN transfers t ON t.id = p.transfer_id
      JOIN asset_on_chain s ON s.id = t.asset_on_chain_id
      LEFT JOIN chain_transactions x ON x.bundle_id = t.bundle_id AND x.state IN ('final', 'reverted')
      LEFT JOIN LATERAL (
           -- Bytes with a nonce do not expire: they die by another transaction, and what nodes said before is no reason.
           SELECT count(*) AS attempts,
                  (array_agg(substr(a.last_result, 10) ORDER BY a.attempt DESC)
                      FILTER (WHERE a.last_result LIKE 'refused: %%' AND a.attempt = newest.attempt))[1] AS refusal
             FROM chain_transactions a
            CROSS JOIN (SELECT max(attempt) AS attempt FROM chain_transactions WHERE bundle_id = t.bundle_id) newest
            WHERE a.bundle_id = t.bundle_id AND a.state = 'expired' AND a.nonce IS NULL
      ) dead ON t.state = 'expired'
), jobs AS (
    SELECT p.job_id,
           j.data -> 'not_sent' AS not_sent,
           bool_or(p.state IN ('broadcasting', 'included')) AS out,
           bool_or(p.state IN ('requested', 'expired')) AS unsent,
           bool_and(p.state = 'final') AS all_final,
           -- A token that takes a fee: the money has moved, and a person is to know.
           bool_or(p.state = 'final' AND p.error_message IS NOT NULL) AS is_odd,
           bool_or(p.refusal IS NOT NULL OR p.attempts >= 10) IS TRUE AS is_failure,
           j.retry_count + 1 >= j.max_retries AS is_last,
           string_agg(p.error_message || coalesce('; nodes refused it: ' || p.refusal, ''), '; ' ORDER BY p.id)
               FILTER (WHERE p.state = 'expired') AS why_again,
           -- The one payment that most jobs make says it best in its own words.
           CASE WHEN count(*) = 1 THEN min(p.error_message) FILTER (WHERE p.state <> 'expired')
                ELSE string_agg(format('%%s: %%s', p.symbol, p.error_message), '; ' ORDER BY p.id)
                     FILTER (WHERE p.error_message IS NOT NULL AND p.state IN ('final', 'reverted')) END AS why_failed,
           CASE WHEN count(*) = 1
                THEN jsonb_strip_nulls(jsonb_build_object(
                         'transfer', min(p.id), 'txid', min(p.txid), 'block', min(p.block_number),
                         'amount', min(p.amount)::text, 'arrived', min(p.arrived)::text, 'fee', min(p.fee_paid)::text))
                ELSE jsonb_build_object('payments', jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                         'asset', p.symbol, 'outcome', CASE WHEN p.state = 'final' THEN 'sent' ELSE p.state END,
                         'transfer', p.id, 'txid', p.txid, 'block', p.block_number,
                         'amount', p.amount::text, 'arrived', p.arrived::text, 'fee', p.fee_paid::text,
                         'error', p.error_message)) ORDER BY p.id)) END AS facts
      FROM payments p
      JOIN job_logs j ON j.id = p.job_id
     GROUP BY p.job_id, j.data -> 'not_sent', j.retry_count, j.max_retries
), again AS (
    UPDATE job_logs j
       SET status = 'retrying', awaiting_chain = false, run_at = clock_timestamp(), error_message = jobs.why_again,
           retry_count = j.retry_count + jobs.is_failure::integer,
           data = CASE WHEN jobs.why_again IS NULL THEN j.data ELSE j.data || one_more_in_history(j.data, jobs.why_again) END
      FROM jobs
     WHERE j.id = jobs.job_id AND jobs.unsent AND NOT (jobs.is_failure AND jobs.is_last) AND NOT jobs.out
       AND j.status = 'active' AND j.awaiting_chain
    RETURNING j.id
), finished AS (
    UPDATE job_logs j
       SET status = CASE WHEN jobs.all_final AND NOT jobs.is_odd AND jobs.not_sent IS NULL THEN 'completed' ELSE 'failed' END,
           awaiting_chain = false,
           completed_at = clock_timestamp(),
           queued = false,
           retry_count = j.retry_count + jobs.unsent::integer,
           error_message = nullif(concat_ws('; ', jobs.why_failed, jobs.why_again, (
                SELECT string_agg(format('%%s was not sent: %%s', key, value), '; ' ORDER BY key)
                  FROM jsonb_each_text(jobs.not_sent))), ''),
           data = j.data || jobs.facts || jsonb_build_object(
                'outcome', CASE WHEN jobs.unsent THEN 'expired' WHEN NOT jobs.all_final THEN 'reverted'
                                WHEN jobs.is_odd THEN 'sent otherwise' WHEN jobs.not_sent IS NULL THEN 'sent'
                                ELSE 'partly sent' END,
                'duration_ms', round(extract(epoch FROM clock_timestamp() - j.started_at) * 1000, 3))
      FROM jobs
     WHERE j.id = jobs.job_id AND (NOT jobs.unsent OR (jobs.is_failure AND jobs.is_last)) AND NOT jobs.out
       AND j.status = 'active' AND j.awaiting_chain
    RETURNING j.id, j.job_id, j.error_message, jobs.unsent
)
SELECT id, 'again' AS outcome, NULL AS job_id, NULL AS error FROM again
UNION ALL
SELECT id, CASE WHEN unsent THEN 'given up' ELSE 'finished' END, job_id, error_message FROM finished;
