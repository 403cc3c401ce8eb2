-- The second commit of a signature: the bytes are kept, and from here on only the chain knows. In one statement requests become
-- signed, their bytes the next attempt of their bundles, its payments 'broadcasting', and the jobs pass to the confirmation
-- worker; one that is pending or retrying is claimed for that. Run under the locks of jobs and payments; the caller takes it
-- back unless there is a row for every request: one that is missing was kept or refused meanwhile, and nothing of it must be
-- sent. What the attempts of jobs add to their data (job_uuids, data) runs in parallel.
--
-- This commit must survive a crash of the server before a byte leaves: on a server with synchronous_commit = off it
-- could be lost after it was acknowledged. Stricter settings are left as they are.
WITH answers AS (
    SELECT * FROM unnest(%(request_ids)s::uuid[], %(txids)s::text[], %(signed_bytes)s::bytea[])
        WITH ORDINALITY AS a (request_id, txid, signed_bytes, place)
), requests AS (
    UPDATE signing_requests r
       SET state = 'signed'
      FROM answers
     WHERE r.request_id = answers.request_id AND r.state = 'asked'
       AND NOT EXISTS (
           SELECT FROM transfers t
            WHERE t.bundle_id = r.bundle_id AND t.state <> CASE WHEN r.replaces IS NULL THEN 'requested' ELSE 'broadcasting' END)
       AND (r.replaces IS NULL
            OR r.replaces = (SELECT max(newest.id) FROM chain_transactions newest WHERE newest.bundle_id = r.bundle_id))
    RETURNING r.*, answers.txid, answers.signed_bytes, answers.place
), payments AS (
    UPDATE transfers t
       SET state = 'broadcasting', replace_wanted_at = NULL, error_message = NULL
      FROM requests r
     WHERE t.bundle_id = r.bundle_id
    RETURNING t.job_id, r.replaces IS NULL AS is_first
), attempts AS (
    INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block, expiration,
                                    fee_cap, state, first_broadcast_at, last_broadcast_at, broadcast_count)
    SELECT r.bundle_id, r.request_id, r.chain_id,
           (SELECT coalesce(max(a.attempt), 0) + 1 FROM chain_transactions a WHERE a.bundle_id = r.bundle_id),
           r.txid, r.signed_bytes, r.sender, r.nonce, r.ref_block, r.expiration, r.fee_cap,
           'broadcasting', clock_timestamp(), clock_timestamp(), 1
      FROM requests r
     ORDER BY r.place
    RETURNING id, request_id
), jobs AS (
    UPDATE job_logs j
       SET status = 'active', lease = j.lease + CASE WHEN j.status = 'active' THEN 0 ELSE 1 END,
           started_at = coalesce(j.started_at, clock_timestamp()),
           awaiting_chain = true, leased_by = NULL, lease_deadline = NULL,
           data = CASE WHEN own.data IS NULL THEN j.data ELSE (j.data - 'not_sent') || own.data END
      FROM (SELECT DISTINCT p.job_id FROM payments p WHERE p.is_first) AS handed_over
      LEFT JOIN unnest(%(job_uuids)s::uuid[], %(data)s::jsonb[]) AS own (job_id, data) ON own.job_id = handed_over.job_id
     WHERE j.id = handed_over.job_id AND j.status IN ('pending', 'active', 'retrying')
)
SELECT attempts.id, attempts.request_id,
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
  FROM attempts;
