-- Leaderships as leases, who may register which worker, and how far the final blocks can have been read.
--
-- Guarantees: an advisory lock is for whoever may connect, so none of them decides about money, flags or who acts.

-- The types of worker and the role that each acts as (sql/functions/worker_types.sql).
CREATE TABLE worker_types (
    type text PRIMARY KEY,
    role name NOT NULL
);

-- Of several processes of a type one acts at a time (sql/functions/leaderships.sql).
CREATE TABLE leaderships (
    name text PRIMARY KEY,                       -- 'sweep', 'confirmations tron'
    holder uuid,                                 -- worker_registry.id; NULL: given up by its last holder
    lease bigint NOT NULL DEFAULT 0,             -- raised by each change of hands
    length interval NOT NULL DEFAULT '30 seconds',
    until timestamptz NOT NULL DEFAULT '-infinity',
    taken_at timestamptz,
    renewed_at timestamptz
);

-- The hash of a secret that only the process itself knows: without it nobody of the same role writes its row. NULL: a
-- process of an older version.
ALTER TABLE worker_registry ADD COLUMN token_hash bytea;

-- How far the time of a block may be ahead of this server's clock (triggers/cursors.sql). Chains and servers agree within seconds.
ALTER TABLE chains ADD COLUMN clock_ahead interval NOT NULL DEFAULT '2 minutes' CHECK (clock_ahead > '0');

-- They take or return something else from here on.
DROP FUNCTION IF EXISTS register_worker(uuid, text, text, text, integer, text, integer, jsonb);
DROP FUNCTION IF EXISTS worker_heartbeat(uuid, text, text, text, jsonb);
DROP FUNCTION IF EXISTS hear_every_bell();
