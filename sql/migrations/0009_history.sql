-- History: finished jobs leave the queue's table for monthly partitions, and are counted without being read.
--
-- Guarantees before any application code runs: a job with a payment that is not settled stays in job_logs (a foreign key); a job_id
-- that was given by hand is not taken again while its job stands in job_history, nor ever if the job paid; a month is dropped only
-- as a whole.

-- Partitions stand in a schema of their own, where nobody has a right: what is granted on job_history, and its policies, decide.
CREATE SCHEMA flagpost_history;
REVOKE ALL ON SCHEMA flagpost_history FROM PUBLIC;

-- Jobs that ended a while ago (system_config history.move_after_days), as they were in job_logs. No foreign keys: they would lock
-- wallets, chains and auth.users whenever a month is made or dropped; triggers/wallets_kept.sql keeps the wallets.
CREATE TABLE job_history (
    id uuid NOT NULL,
    seq bigint NOT NULL,
    job_id text NOT NULL,
    job_type text NOT NULL,
    status text NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled')),
    wallet_address text,
    wallet_id uuid,
    chain_id integer,
    user_id uuid,
    triggered_by text NOT NULL,
    priority smallint NOT NULL,
    data jsonb NOT NULL,
    error_message text,
    retry_count integer NOT NULL,
    max_retries integer NOT NULL,
    run_at timestamptz NOT NULL,
    lease bigint NOT NULL,
    started_at timestamptz,
    completed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, completed_at)
) PARTITION BY RANGE (completed_at);
CREATE INDEX job_history_job_id ON job_history (job_id);
CREATE INDEX job_history_wallet ON job_history (wallet_id, created_at);
CREATE INDEX job_history_created ON job_history (created_at);
CREATE INDEX job_history_dead_letters ON job_history (completed_at) WHERE status = 'failed';

-- The months that job_history has, and what is known of each. Written by triggers/history_months.sql and functions alone.
CREATE TABLE job_history_months (
    month date PRIMARY KEY CONSTRAINT a_month_begins_on_its_first_day CHECK (extract(day FROM month) = 1),
    highest_seq bigint NOT NULL DEFAULT 0,                   -- of its jobs: job_logs_seq is never behind it
    version bigint NOT NULL DEFAULT 0,                       -- raised by each change of its rows
    created_at timestamptz NOT NULL DEFAULT now(),
    exported_at timestamptz,
    exported_version bigint,                                 -- its version as it was exported
    exported_rows bigint,
    exported_to text                                         -- the file
);

-- job_ids that were given by hand, of jobs in job_history. The queue's own (gas-topup-17) are unique by their sequence.
CREATE TABLE job_history_names (
    job_id text PRIMARY KEY,
    id uuid NOT NULL,
    month date NOT NULL
);
CREATE INDEX job_history_names_month ON job_history_names (month);

-- How many jobs have ended: folded counts, and what came since. Kept by triggers/job_counts.sql and fold_job_counts() alone.
CREATE TABLE job_counts (
    month date NOT NULL,                                     -- of job_history; -infinity: in job_logs
    job_type text NOT NULL,
    status text NOT NULL,
    chain_id integer NOT NULL,                               -- 0: none
    jobs bigint NOT NULL,
    timed bigint NOT NULL,                                   -- completed jobs whose data has a duration_ms
    duration_ms numeric NOT NULL,                            -- the sum of these
    PRIMARY KEY (month, job_type, status, chain_id)
) WITH (fillfactor = 50);
CREATE TABLE job_count_deltas (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month date NOT NULL,
    job_type text NOT NULL,
    status text NOT NULL,
    chain_id integer NOT NULL,
    jobs bigint NOT NULL,
    timed bigint NOT NULL,
    duration_ms numeric NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1);

-- The ended jobs of a wallet. A claim writes nothing that stands here.
CREATE INDEX job_logs_wallet ON job_logs (wallet_id, created_at) WHERE completed_at IS NOT NULL;

-- What a payment needs of its job is needed until it has settled: until then the job is kept by a foreign key. From then on
-- triggers/jobs_kept.sql keeps it in job_logs or job_history.
ALTER TABLE transfers
    DROP CONSTRAINT transfers_job_id_fkey,
    ADD COLUMN open_job_id uuid GENERATED ALWAYS AS (
        CASE WHEN state NOT IN ('final', 'reverted', 'rejected') THEN job_id END
    ) STORED REFERENCES job_logs (id);
CREATE INDEX transfers_open_job ON transfers (open_job_id) WHERE open_job_id IS NOT NULL;

-- What has ended so far. Nobody writes jobs until the triggers that count are there, at the end of this transaction.
LOCK TABLE job_logs IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO job_counts (month, job_type, status, chain_id, jobs, timed, duration_ms)
SELECT '-infinity', j.job_type, j.status, coalesce(j.chain_id, 0), count(*), count(j.duration_ms), coalesce(sum(j.duration_ms), 0)
FROM (
    SELECT ended.job_type, ended.status, ended.chain_id,
           CASE WHEN ended.status = 'completed' AND jsonb_typeof(ended.data -> 'duration_ms') = 'number'
                THEN (ended.data ->> 'duration_ms')::numeric END AS duration_ms
    FROM job_logs ended WHERE ended.completed_at IS NOT NULL
) j
GROUP BY j.job_type, j.status, coalesce(j.chain_id, 0);
