-- What is new stands together in the indexes that everybody writes to, and can be read without what is old.

-- New jobs get ids in the order of time (UUID version 7, RFC 9562: milliseconds since 1970, then chance). Random ids spread the
-- three versions that each job leaves behind over the whole primary key: pages of it are read, written and logged for each job,
-- and at 10,000,000 jobs none of them is in memory. In the order of time the live jobs share a few pages at its end. Spelled
-- out, because uuidv7() is not there before Postgres 18. Ids that exist stay.
ALTER TABLE job_logs ALTER COLUMN id SET DEFAULT (
    lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || '-7' || substr(gen_random_uuid()::text, 16)
)::uuid;

-- Flags in the order in which they rose: the oldest is served first, and a look at the newest need not walk over all entries
-- that flags have left since the oldest transaction began (sql/queries/queue/enqueue_and_claim.sql).
DROP INDEX wallets_wanting_a_job;
CREATE INDEX wallets_wanting_a_job ON wallets (wanted_job, wanted_since, id) WHERE wanted_job IS NOT NULL;

-- Waiting jobs are said by what they are not (sql/queries/queue/enqueue_and_claim.sql). Said by what they are, IN ('pending',
-- 'retrying'), they are live jobs as well, and the planner, who sees two small indexes, may look for them in that of all live
-- jobs: over every job that ran since the last vacuum.
DROP INDEX job_logs_claim;
CREATE INDEX job_logs_claim ON job_logs (job_type, priority DESC, run_at, seq)
    WHERE status NOT IN ('active', 'completed', 'failed', 'cancelled');
