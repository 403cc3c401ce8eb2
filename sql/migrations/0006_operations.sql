-- Running the system: its configuration, its processes, who of them acts, and what people did to it.
--
-- Guarantees before any application code runs: of several processes of a type one leads at a time; an advisory lock is for whoever
-- may connect, so none of them decides about money, flags or who acts; a process writes its own row only; two processes never have
-- one slot, and who takes a slot over takes over nothing else: leases, locks and leaderships name the incarnation.

CREATE TABLE system_config (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    key text NOT NULL UNIQUE,
    value jsonb NOT NULL,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The types of worker and the role that each acts as (sql/functions/worker_types.sql).
CREATE TABLE worker_types (
    type text PRIMARY KEY,
    role name NOT NULL
);

CREATE TABLE worker_registry (
    -- The slot: chain, type and number, unique over hosts: tron-gas-topup-001; bsc+tron-sync-001 serves both, all-sweep-001 every
    -- chain. A process takes the lowest number that is free (sql/functions/worker_slots.sql).
    id text PRIMARY KEY CONSTRAINT a_slot_is_chain_type_and_number CHECK (id ~ '^[a-z][a-z0-9+-]*-[0-9]{3,}$'),
    -- The process that has the slot: drawn by it at its start, and what job_logs.leased_by, wallet_balances.locked_by and
    -- leaderships.holder name. So nothing that a slot's last process held counts as held by its next one.
    incarnation uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    name text NOT NULL,
    type text NOT NULL,
    blockchain text,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'stopped', 'paused', 'error')),
    pid integer,
    host text,
    port integer,
    last_heartbeat timestamptz NOT NULL DEFAULT now(),
    last_error text,
    config jsonb NOT NULL DEFAULT '{}',
    stats jsonb NOT NULL DEFAULT '{}',       -- what came by event, what by sweep, and other counts
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- A process that is gone is known by its session: what it held is free within seconds, not after a minute of silence. Only one
    -- whose LISTEN session was there at a heartbeat can be missed (sql/functions/workers.sql).
    session_seen boolean NOT NULL DEFAULT false,
    -- When its session was first found gone; emptied by every heartbeat.
    session_lost_at timestamptz,
    -- The hash of a secret that only the process itself knows: without it nobody of the same role writes its row.
    token_hash bytea,
    CONSTRAINT times_are_between_1970_and_2100 CHECK (
        last_heartbeat >= '1970-01-01 00:00:00+00' AND last_heartbeat < '2100-01-01 00:00:00+00'
        AND session_lost_at >= '1970-01-01 00:00:00+00' AND session_lost_at < '2100-01-01 00:00:00+00'
    )
);
CREATE INDEX worker_registry_live ON worker_registry (type, last_heartbeat) WHERE status <> 'stopped';

-- Of several processes of a type one acts at a time (sql/functions/leaderships.sql).
CREATE TABLE leaderships (
    name text PRIMARY KEY,                       -- 'sweep', 'confirmations tron'
    holder uuid,                                 -- worker_registry.incarnation; NULL: given up by its last holder
    lease bigint NOT NULL DEFAULT 0,             -- raised by each change of hands
    length interval NOT NULL DEFAULT '30 seconds',
    until timestamptz NOT NULL DEFAULT '-infinity',
    taken_at timestamptz,
    renewed_at timestamptz
);

CREATE TABLE admin_actions (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    admin_user_id uuid REFERENCES auth.users (id),
    action_type text NOT NULL,
    target_id text,
    target_type text,
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
