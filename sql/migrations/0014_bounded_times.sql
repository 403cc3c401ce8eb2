-- A time that is counted with lies within a human life: how long a job waited, when a balance is due, how old a flag is. A job
-- typed with run_at in the year 20000 would block its wallet for good (one live job per wallet and type), Postgres 15 and 16
-- refuse to take infinity from now, and Python has no such times at all: one row would end every process that reads it.
--
-- Bounds that do not move, so that a row stays as right as it was: 1970 is what a clock without a battery says, and 2100 later
-- than anybody plans. A clock beyond them is refused by the first row it would be written into, and waited for
-- (pipeline/db/pool.py).
--
-- NOT VALID, so that a finished row from before stands in nobody's way; it holds for every row that is written, and so what
-- can be written is mended here.

-- Nobody can wait for these: they are given up, and their wallets are free. Where a flag is up, it gets a job of its own.
UPDATE job_logs
SET status = 'cancelled', completed_at = clock_timestamp(), run_at = now(),
    error_message = format('run_at %s is no time that can come: cancelled', run_at)
WHERE status NOT IN ('active', 'completed', 'failed', 'cancelled') AND run_at >= '2100-01-01 00:00:00+00';
UPDATE job_logs
SET run_at = CASE WHEN run_at >= '1970-01-01 00:00:00+00' AND run_at < '2100-01-01 00:00:00+00' THEN run_at ELSE now() END,
    started_at = CASE WHEN started_at >= '1970-01-01 00:00:00+00' AND started_at < '2100-01-01 00:00:00+00' THEN started_at END,
    lease_deadline = CASE WHEN lease_deadline >= '1970-01-01 00:00:00+00' AND lease_deadline < '2100-01-01 00:00:00+00'
                          THEN lease_deadline WHEN lease_deadline IS NOT NULL THEN now() END
WHERE status NOT IN ('completed', 'cancelled')
  AND NOT (run_at >= '1970-01-01 00:00:00+00' AND run_at < '2100-01-01 00:00:00+00'
           AND coalesce(started_at >= '1970-01-01 00:00:00+00' AND started_at < '2100-01-01 00:00:00+00', true)
           AND coalesce(lease_deadline >= '1970-01-01 00:00:00+00' AND lease_deadline < '2100-01-01 00:00:00+00', true));
ALTER TABLE job_logs DROP CONSTRAINT run_at_is_finite;
ALTER TABLE job_logs ADD CONSTRAINT times_are_between_1970_and_2100 CHECK (
    run_at >= '1970-01-01 00:00:00+00' AND run_at < '2100-01-01 00:00:00+00'
    AND started_at >= '1970-01-01 00:00:00+00' AND started_at < '2100-01-01 00:00:00+00'
    AND lease_deadline >= '1970-01-01 00:00:00+00' AND lease_deadline < '2100-01-01 00:00:00+00'
) NOT VALID;

-- Since when a flag is up; created_at stands in for it where nobody knows.
UPDATE wallets
SET needs_gas_since = CASE WHEN needs_gas THEN now() END,
    needs_consolidation_since = CASE WHEN needs_consolidation THEN now() END,
    consolidation_ready_since = CASE WHEN needs_consolidation AND NOT needs_gas THEN now() END,
    created_at = CASE WHEN created_at >= '1970-01-01 00:00:00+00' AND created_at < '2100-01-01 00:00:00+00' THEN created_at
                      ELSE now() END
WHERE NOT (created_at >= '1970-01-01 00:00:00+00' AND created_at < '2100-01-01 00:00:00+00'
    AND coalesce(needs_gas_since >= '1970-01-01 00:00:00+00' AND needs_gas_since < '2100-01-01 00:00:00+00', true)
    AND coalesce(needs_consolidation_since >= '1970-01-01 00:00:00+00'
                 AND needs_consolidation_since < '2100-01-01 00:00:00+00', true)
    AND coalesce(consolidation_ready_since >= '1970-01-01 00:00:00+00'
                 AND consolidation_ready_since < '2100-01-01 00:00:00+00', true));
ALTER TABLE wallets ADD CONSTRAINT times_are_between_1970_and_2100 CHECK (
    needs_gas_since >= '1970-01-01 00:00:00+00' AND needs_gas_since < '2100-01-01 00:00:00+00'
    AND needs_consolidation_since >= '1970-01-01 00:00:00+00' AND needs_consolidation_since < '2100-01-01 00:00:00+00'
    AND consolidation_ready_since >= '1970-01-01 00:00:00+00' AND consolidation_ready_since < '2100-01-01 00:00:00+00'
    AND created_at >= '1970-01-01 00:00:00+00' AND created_at < '2100-01-01 00:00:00+00'
) NOT VALID;

-- When a balance is read, and how long it waits after an error.
UPDATE wallet_balances
SET next_check_at = now(), processing_status = 'idle', locked_by = NULL, locked_until = NULL, last_error_at = NULL
WHERE NOT (next_check_at >= '1970-01-01 00:00:00+00' AND next_check_at < '2100-01-01 00:00:00+00'
           AND coalesce(locked_until >= '1970-01-01 00:00:00+00' AND locked_until < '2100-01-01 00:00:00+00', true)
           AND coalesce(last_error_at >= '1970-01-01 00:00:00+00' AND last_error_at < '2100-01-01 00:00:00+00', true));
ALTER TABLE wallet_balances ADD CONSTRAINT times_are_between_1970_and_2100 CHECK (
    next_check_at >= '1970-01-01 00:00:00+00' AND next_check_at < '2100-01-01 00:00:00+00'
    AND locked_until >= '1970-01-01 00:00:00+00' AND locked_until < '2100-01-01 00:00:00+00'
    AND last_error_at >= '1970-01-01 00:00:00+00' AND last_error_at < '2100-01-01 00:00:00+00'
) NOT VALID;

UPDATE worker_registry SET last_heartbeat = now()
WHERE NOT (last_heartbeat >= '1970-01-01 00:00:00+00' AND last_heartbeat < '2100-01-01 00:00:00+00');
UPDATE worker_registry SET session_lost_at = now()
WHERE NOT (session_lost_at >= '1970-01-01 00:00:00+00' AND session_lost_at < '2100-01-01 00:00:00+00');
ALTER TABLE worker_registry ADD CONSTRAINT times_are_between_1970_and_2100 CHECK (
    last_heartbeat >= '1970-01-01 00:00:00+00' AND last_heartbeat < '2100-01-01 00:00:00+00'
    AND session_lost_at >= '1970-01-01 00:00:00+00' AND session_lost_at < '2100-01-01 00:00:00+00'
) NOT VALID;

-- What is added to now: an interval of 200,000 years ends beyond all times, and with it every statement that adds it.
UPDATE chains
SET sync_interval = least(sync_interval, '366 days'), gas_cooldown = greatest('0', least(gas_cooldown, '366 days')),
    block_time = least(block_time, '1 day'), transaction_lifetime = least(transaction_lifetime, '1 day')
WHERE sync_interval > '366 days' OR gas_cooldown > '366 days' OR gas_cooldown < '0' OR block_time > '1 day'
   OR transaction_lifetime > '1 day';
ALTER TABLE chains ADD CONSTRAINT intervals_are_at_most_a_year CHECK (
    sync_interval <= '366 days' AND gas_cooldown BETWEEN '0' AND '366 days'
    AND block_time <= '1 day' AND transaction_lifetime <= '1 day'
);
