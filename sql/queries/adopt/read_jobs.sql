-- What each old job becomes. A job that had begun and not ended is of unknown state: its transaction may be on its way. It is
-- cancelled, and never run again. Waiting jobs stay waiting, one for each wallet and type; a withdrawal is never taken over as
-- waiting, because nobody has approved it here.
CREATE TEMPORARY TABLE adopting_jobs ON COMMIT DROP AS
--
-- A job names its wallet by id or by address, and one address may be a wallet on several chains: such a job belongs to none of them,
-- but if its state is unknown, all of them are frozen.
WITH old AS (
    SELECT to_jsonb(t) AS row FROM adopted.job_logs t
), named AS (
    SELECT DISTINCT m.id, CASE WHEN given.name ~* '^0x' THEN lower(given.name) ELSE given.name END AS name
    FROM adopting m CROSS JOIN LATERAL (VALUES (m.old_address), (m.address), (m.id::text)) AS given (name)
), known AS (
    SELECT named.name, array_agg(named.id) AS ids FROM named GROUP BY named.name
), read AS (
    SELECT old.row, (old.row ->> 'id')::uuid AS id, coalesce(known.ids, '{}') AS wallet_ids,
           replace(lower(trim(old.row ->> 'job_type')), '_', '-') AS job_type,
           lower(trim(old.row ->> 'status')) AS status,
           old.row ->> 'started_at' IS NOT NULL AS was_started,
           CASE cardinality(known.ids) WHEN 1 THEN known.ids[1] END AS wallet_id
    FROM old LEFT JOIN known ON known.name = coalesce(
        old.row ->> 'wallet_id',
        CASE WHEN old.row ->> 'wallet_address' ~* '^0x' THEN lower(trim(old.row ->> 'wallet_address'))
             ELSE trim(old.row ->> 'wallet_address') END)
), judged AS (
    SELECT read.*, CASE
        WHEN read.status IN ('completed', 'complete', 'success', 'succeeded', 'done') THEN 'completed'
        WHEN read.status IN ('failed', 'error', 'dead') THEN 'failed'
        WHEN read.status IN ('cancelled', 'canceled', 'skipped') THEN 'cancelled'
        WHEN read.status IN ('pending', 'queued', 'waiting', 'scheduled', 'created') AND NOT read.was_started
             AND read.job_type <> 'withdrawal' AND read.wallet_id IS NOT NULL THEN 'pending'
    END AS meant
    FROM read
)
SELECT judged.row, judged.id, judged.job_type, judged.wallet_id, m.chain_id, judged.status AS old_status,
       judged.meant IS NULL AS is_unknown,
       -- Wallets of ours that it holds, and the index that each gets back.
       CASE WHEN judged.meant IS NULL THEN (
           SELECT jsonb_object_agg(one.id, one.derivation_index) FROM adopting one
           WHERE one.id = ANY (judged.wallet_ids) AND one.derivation_index IS NOT NULL) END AS frozen,
       CASE
           WHEN judged.meant IS NULL THEN 'cancelled'
           WHEN judged.meant = 'pending' AND row_number() OVER (
               PARTITION BY judged.wallet_id, judged.job_type, judged.meant
               ORDER BY judged.row ->> 'created_at' DESC NULLS LAST, judged.id) > 1 THEN 'cancelled'
           ELSE judged.meant
       END AS status,
       judged.job_type IN ('sync', 'gas-topup', 'consolidation', 'deposit-detection', 'withdrawal') AS is_known
FROM judged LEFT JOIN adopting m ON m.id = judged.wallet_id;
