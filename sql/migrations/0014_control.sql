-- Operators' control of workers: what a process is told, and whether it has obeyed.
--
-- Guarantees: what was told belongs to the slot, and outlives the process in it; every command raises `generation`, and a process
-- has obeyed once `observed_generation` is the same. A slot whose process has said that it ends is known by `ended_at`; one that is
-- only parked (status stopped, ended_at empty) still has its process.

ALTER TABLE worker_registry
    ADD COLUMN desired text NOT NULL DEFAULT 'running' CHECK (desired IN ('running', 'paused', 'stopped')),
    ADD COLUMN generation bigint NOT NULL DEFAULT 0,
    -- NULL: the process is of a version that knows no commands, and obeys `status` at its heartbeats.
    ADD COLUMN observed_generation bigint,
    -- Raised to `generation` by a restart: a process that has observed less hands back and starts anew.
    ADD COLUMN restart_generation bigint NOT NULL DEFAULT 0,
    -- The host agent that starts the slot's processes (flagpost host), by the name of its host; NULL: another launcher does.
    ADD COLUMN managed_by text,
    ADD COLUMN ended_at timestamptz,
    ADD CONSTRAINT what_is_observed_was_told CHECK (observed_generation <= generation AND restart_generation <= generation);

UPDATE worker_registry SET ended_at = last_heartbeat WHERE status = 'stopped';
UPDATE worker_registry SET desired = 'paused' WHERE status = 'paused'
    AND NOT EXISTS (SELECT FROM system_config c WHERE c.key = 'paused' AND c.value = 'true');

-- How many workers of a type there shall be: told by people (`flagpost workers scale`) or by auto-scaling, obeyed by host agents and
-- by KEDA. A type without a row: as many as its launchers start.
CREATE TABLE worker_targets (
    type text NOT NULL REFERENCES worker_types (type),
    -- The chains they serve, as in worker_registry.blockchain; '': all.
    blockchain text NOT NULL DEFAULT '',
    -- The host they run on; '': over all hosts, but those that have a row of their own.
    host text NOT NULL DEFAULT '',
    workers integer NOT NULL CHECK (workers BETWEEN 0 AND 200),
    set_by text NOT NULL DEFAULT 'operator' CHECK (set_by IN ('operator', 'scaling')),
    set_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (type, blockchain, host)
);
