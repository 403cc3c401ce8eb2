-- A process that is gone is known by its session: what it held is free within seconds, not after a minute of silence.
--
-- Guarantees: only a worker whose session has been seen can be missed, so that a process of an older version, which
-- has no such session, is judged by its heartbeats alone.
ALTER TABLE worker_registry
    -- Its LISTEN session was there at a heartbeat (sql/functions/workers.sql).
    ADD COLUMN session_seen boolean NOT NULL DEFAULT false,
    -- When its session was first found gone; emptied by every heartbeat.
    ADD COLUMN session_lost_at timestamptz;

-- The few balances that are being read just now: what a dead sync had locked is found without a look at all that are due.
CREATE INDEX wallet_balances_locked ON wallet_balances (locked_by) WHERE processing_status = 'processing';
