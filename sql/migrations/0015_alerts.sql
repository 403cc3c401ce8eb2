-- Alerts: what is wrong and since when, who knows of it, and what was sent to whom.
--
-- Guarantees before any application code runs: at most one alert of a rule and a subject is open; an alert says what is wrong and
-- what to do; what is to be sent is written in the transaction that raises, reminds of or resolves the alert, so that neither is
-- there without the other. Addresses and secrets of those who are told stand in no row (the environment has them).

CREATE TABLE alerts (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    rule text NOT NULL CHECK (rule ~ '^[a-z_]+([.][a-z_]+)*$'),
    -- What it is about: a chain, a sender, a slot, a type of worker; '': the system.
    subject text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('warning', 'critical')),
    summary text NOT NULL CHECK (summary <> ''),
    action text NOT NULL CHECK (action <> ''),
    value numeric,                           -- the figure that the rule compares, where it compares one
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    -- NULL: it has not lasted for as long as its rule demands; nobody was told.
    raised_at timestamptz,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    reminded_at timestamptz,                 -- when it was last sent to anybody, or would have been
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,                    -- auth.users.id, or the login in the database
    count bigint NOT NULL DEFAULT 1 CHECK (count > 0),   -- evaluations that found it
    missed integer NOT NULL DEFAULT 0 CHECK (missed >= 0), -- evaluations since that did not, one after the other
    CONSTRAINT only_what_was_raised_is_resolved CHECK (resolved_at IS NULL OR raised_at IS NOT NULL),
    CONSTRAINT what_is_acknowledged_says_by_whom CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX alerts_one_open ON alerts (rule, subject) WHERE resolved_at IS NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

CREATE TABLE alert_silences (
    id uuid PRIMARY KEY DEFAULT (
        overlay(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0') PLACING '-7' FROM 13 FOR 0)
            || substr(gen_random_uuid()::text, 19)
    )::uuid,
    -- Patterns, in which * stands for any characters.
    rule text NOT NULL CHECK (rule ~ '^[a-z_.*]+$'),
    subject text NOT NULL DEFAULT '*',
    until timestamptz NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    silenced_by text NOT NULL,               -- auth.users.id, or the login in the database
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz                     -- taken back before `until`
);
CREATE INDEX alert_silences_until ON alert_silences (until) WHERE ended_at IS NULL;

CREATE TABLE alert_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id uuid NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel text NOT NULL CHECK (channel <> ''),             -- webhook, slack, mail
    event text NOT NULL CHECK (event IN ('raised', 'reminder', 'resolved')),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Of one that is being sent: when another sweep sends it again, unless the outcome was noted before.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    first_attempt_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,                    -- delivered or given up
    CONSTRAINT what_is_pending_has_not_ended CHECK ((state = 'pending') = (ended_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX alert_deliveries_pending ON alert_deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX alert_deliveries_alert ON alert_deliveries (alert_id, channel);

-- Rules ask these every 30 s.
CREATE INDEX job_logs_failed ON job_logs (failed_at) WHERE failed_at IS NOT NULL;
CREATE INDEX wallet_balances_failing ON wallet_balances (asset_on_chain_id) WHERE error_count > 10 AND last_error IS NOT NULL;
