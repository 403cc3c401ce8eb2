-- Running the system: its configuration, its processes, and what people did to it.

CREATE TABLE system_config (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    value jsonb NOT NULL,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE worker_registry (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
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
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX worker_registry_live ON worker_registry (type, last_heartbeat) WHERE status <> 'stopped';

CREATE TABLE admin_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    admin_user_id uuid REFERENCES auth.users (id),
    action_type text NOT NULL,
    target_id text,
    target_type text,
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
