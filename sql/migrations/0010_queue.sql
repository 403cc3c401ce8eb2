-- Claims that touch no index, and scans that an old transaction does not slow down.
--
-- Guarantees, as before, whoever writes: one live job per wallet and type (live is: without an end, which a CHECK holds equal to
-- the status); job_id is unique. A job that waits is in the index that claims read, and a flag that is up and whose transaction
-- nobody noted is read by every scan.
--
-- Nothing that a claim writes is indexed or stands in the condition of an index, so that the new version of the row stays in its
-- page and no index learns of it (HOT): status, lease, leased_by, lease_deadline, started_at, updated_at and data.
--
-- Columns of type xid8 name the transaction that a scan has to have seen. Whoever has read everything under a snapshot has missed
-- what later transactions write, and those that were under way: none of their numbers is below pg_snapshot_xmin of that snapshot
-- (pipeline/queue/schedule.py).

-- What triggers/job_rows.sql, triggers/job_transitions.sql and triggers/jobs_updated.sql do from now on.
DROP TRIGGER IF EXISTS finished_jobs ON job_logs;
DROP TRIGGER IF EXISTS end_times ON job_logs;
DROP TRIGGER IF EXISTS updated_at ON job_logs;
DROP TRIGGER IF EXISTS job_transitions ON job_logs;
DROP TRIGGER IF EXISTS jobs_reject_unsent ON job_logs;
DROP TRIGGER IF EXISTS jobs_due_update ON job_logs;
DROP FUNCTION IF EXISTS refuse_changed_job(), keep_job_end(), check_job_transitions(), reject_unsent_transfers();
DROP FUNCTION IF EXISTS rescue_jobs(interval, interval);

DROP INDEX job_logs_one_live_job_per_wallet_and_type, job_logs_claim, job_logs_leased, job_logs_dead_letters, job_logs_history;
ALTER TABLE job_logs SET (fillfactor = 40);
ALTER TABLE job_logs
    -- Of a dead letter; a claim leaves it empty.
    ADD COLUMN failed_at timestamptz GENERATED ALWAYS AS (CASE WHEN status = 'failed' THEN completed_at END) STORED,
    -- Whether it waits, or has waited since its last attempt. One that is claimed as it is inserted has not, and needs no entry
    -- among those that wait.
    ADD COLUMN queued boolean NOT NULL DEFAULT true,
    -- The transaction that inserted it, or by which it last began to wait or came back from the chain (triggers/job_rows.sql).
    ADD COLUMN entered_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD CONSTRAINT waiting_jobs_are_queued CHECK (queued OR status NOT IN ('pending', 'retrying'));

CREATE UNIQUE INDEX job_logs_one_live_job_per_wallet_and_type ON job_logs (wallet_id, job_type) WHERE completed_at IS NULL;
-- In the order in which they are claimed; those that run are left out by their rows.
CREATE INDEX job_logs_claim ON job_logs (job_type, priority DESC, run_at, seq)
    WHERE completed_at IS NULL AND NOT awaiting_chain AND queued;
-- What waits or runs, in the order in which it entered: for those who look for what the dead have left behind.
CREATE INDEX job_logs_entered ON job_logs (entered_xid) WHERE completed_at IS NULL AND NOT awaiting_chain;
CREATE INDEX job_logs_dead_letters ON job_logs (wallet_id, job_type, failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX job_logs_history ON job_logs (created_at);

ALTER TABLE wallets
    -- The transaction by which the wallet began to call for the job it calls for now (triggers/flag_times.sql).
    ADD COLUMN flag_xid xid8,
    -- One that nobody noted counts as later than all: no scan leaves it out.
    ADD COLUMN wanted_xid xid8 GENERATED ALWAYS AS (
        CASE WHEN needs_gas OR needs_consolidation THEN coalesce(flag_xid, '18446744073709551615') END
    ) STORED;
DROP INDEX wallets_wanting_a_job;
CREATE INDEX wallets_wanting_a_job ON wallets (wanted_job, wanted_xid, id) WHERE wanted_job IS NOT NULL;
