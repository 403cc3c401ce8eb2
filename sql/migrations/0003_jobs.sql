-- The queue.
--
-- Guarantees before any application code runs, whoever inserts: one live job per wallet and type; a status moves only along
-- state_transitions; a finished job does not change; every claim raises the lease; a job is due at a time that can be counted with.

-- Allowed state changes of jobs, transfers and chain_transactions, as data: triggers enforce them
-- (triggers/job_transitions.sql, triggers/money_transitions.sql), tests walk them. Rows come from
-- sql/functions/state_transitions.sql.
CREATE TABLE state_transitions (
    subject text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (subject, from_state, to_state)
);

CREATE SEQUENCE job_logs_seq AS bigint;
CREATE TABLE job_logs (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    seq bigint NOT NULL DEFAULT nextval('job_logs_seq'),   -- order of arrival
    job_id text NOT NULL UNIQUE DEFAULT gen_random_uuid()::text,
    job_type text NOT NULL CHECK (job_type IN ('sync', 'gas-topup', 'consolidation', 'deposit-detection', 'withdrawal')),
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'active', 'retrying', 'completed', 'failed', 'cancelled')),
    wallet_address text,
    wallet_id uuid REFERENCES wallets (id),
    chain_id integer REFERENCES chains (id),
    user_id uuid REFERENCES auth.users (id),
    triggered_by text NOT NULL DEFAULT 'manual'
        CHECK (triggered_by IN ('system', 'manual', 'deposit', 'schedule', 'event', 'sweep')),
    priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -10 AND 10), -- low -10, normal 0, high 10
    data jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(data) = 'object'),
    error_message text,
    retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    max_retries integer NOT NULL DEFAULT 3 CHECK (max_retries >= 0),
    run_at timestamptz NOT NULL DEFAULT now(),
    lease bigint NOT NULL DEFAULT 0,         -- raised by every claim; every later write of that attempt names it
    leased_by uuid,                          -- the process that holds it, on purpose without a foreign key
    lease_deadline timestamptz,              -- past it the attempt is rescued even from a live worker
    -- Handed over to the confirmation worker: a transaction of this job may land, no worker holds it.
    awaiting_chain boolean NOT NULL DEFAULT false,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT only_active_jobs_await_the_chain CHECK (NOT awaiting_chain OR status = 'active'),
    CONSTRAINT finished_jobs_have_an_end CHECK (
        (status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)
    ),
    CONSTRAINT times_are_between_1970_and_2100 CHECK (
        run_at >= '1970-01-01 00:00:00+00' AND run_at < '2100-01-01 00:00:00+00'
        AND started_at >= '1970-01-01 00:00:00+00' AND started_at < '2100-01-01 00:00:00+00'
        AND lease_deadline >= '1970-01-01 00:00:00+00' AND lease_deadline < '2100-01-01 00:00:00+00'
    )
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER SEQUENCE job_logs_seq OWNED BY job_logs.seq;

CREATE UNIQUE INDEX job_logs_one_live_job_per_wallet_and_type ON job_logs (wallet_id, job_type)
    WHERE status IN ('pending', 'active', 'retrying');
-- Waiting jobs are said by what they are not (sql/queries/queue/enqueue_and_claim.sql). Said by what they are, IN ('pending',
-- 'retrying'), they are live jobs as well, and the planner, who sees two small indexes, may search for them in that of all live
-- jobs: over every job that ran since the last vacuum.
CREATE INDEX job_logs_claim ON job_logs (job_type, priority DESC, run_at, seq)
    WHERE status NOT IN ('active', 'completed', 'failed', 'cancelled');
CREATE INDEX job_logs_leased ON job_logs (lease_deadline) WHERE status = 'active' AND NOT awaiting_chain;
CREATE INDEX job_logs_dead_letters ON job_logs (wallet_id, job_type, completed_at) WHERE status = 'failed';
CREATE INDEX job_logs_history ON job_logs (created_at DESC);
