-- Slots of processes: worker_registry.id, such as tron-gas-topup-001.
--
-- Guarantees: a slot is taken from a process only if that process was stopped, died or has been silent for a minute, its session is
-- gone, and it holds nothing any more: no job that nobody waits for on the chain, no lock on a balance, no leadership. So the
-- evidence that a process is gone stays until all that it held was rescued. One that lives nevertheless (it was frozen, and held
-- nothing) finds no row of its own at its next heartbeat, and registers again in another slot. A slot that the agent of a host keeps
-- is for the processes of that agent.

-- The part of a slot before its number, for a process that serves these chains (names with commas; NULL: all).
CREATE OR REPLACE FUNCTION slot_prefix(p_blockchain text, p_type text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(string_agg(chain.name, '+' ORDER BY chain.name COLLATE "C"), 'all') || '-' || p_type || '-'
    FROM (SELECT DISTINCT btrim(name) AS name FROM unnest(string_to_array(p_blockchain, ',')) AS name WHERE btrim(name) <> '') chain
$$;

-- Whether a process may take this row's slot. p_sessions: worker_sessions(), of the same statement or later than the row.
CREATE OR REPLACE FUNCTION slot_is_free(w worker_registry, p_sessions bigint[]) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT (w.status = 'stopped' OR w.last_heartbeat < clock_timestamp() - interval '60 seconds'
            OR coalesce(w.session_lost_at < clock_timestamp() - interval '5 seconds', false))
       AND worker_session_key(w.incarnation) <> ALL (p_sessions)
       AND NOT EXISTS (SELECT FROM job_logs j
                       WHERE j.completed_at IS NULL AND j.status = 'active' AND NOT j.awaiting_chain AND j.leased_by = w.incarnation)
       AND NOT EXISTS (SELECT FROM wallet_balances b
                       WHERE b.processing_status = 'processing' AND b.locked_until > clock_timestamp()
                         AND split_part(b.locked_by, ':', 2) = w.incarnation::text)
       AND NOT EXISTS (SELECT FROM sync_pages p
                       WHERE p.locked_until > clock_timestamp() AND split_part(p.locked_by, ':', 2) = w.incarnation::text)
       AND NOT EXISTS (SELECT FROM leaderships l
                       WHERE l.holder = w.incarnation AND l.until > clock_timestamp()
                         AND l.until <= clock_timestamp() + l.length + interval '1 second')
$$;

-- The lowest number that is free, as a slot: no agent keeps it, nor is it that of an agent which was told not to work. p_told: whether
-- it may be one that was told not to work, which holds for the process that takes it.
CREATE OR REPLACE FUNCTION free_slot(p_prefix text, p_sessions bigint[], p_told boolean) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT n.slot
    FROM (SELECT i, p_prefix || lpad(i::text, greatest(3, length(i::text)), '0') AS slot FROM generate_series(1, 9999) AS i) n
    LEFT JOIN worker_registry w ON w.id = n.slot
    WHERE w.id IS NULL
       OR (slot_is_free(w, p_sessions) AND NOT slot_is_kept(w)
           AND (told_in_slot(w) = 'running' OR (p_told AND w.type <> 'host')))
    ORDER BY n.i
    LIMIT 1
$$;

CREATE OR REPLACE FUNCTION free_slot(p_prefix text, p_sessions bigint[]) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT free_slot(p_prefix, p_sessions, true) $$;

-- What the next process of a slot is told: what the last one was, unless that was passed on to a process in another slot.
CREATE OR REPLACE FUNCTION told_in_slot(w worker_registry) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT CASE WHEN w.stats ? 'replaced_by' THEN 'running' ELSE w.desired END $$;

-- The row of the process that a new one on this host replaces, where nothing else says which: of those that are gone, and that no
-- other one has replaced, the one that went last. Of those that went within the same ten seconds, as where a host is started again,
-- first one that was told not to work, then the lowest number. A command outlives its process by this also while its slot is not free
-- yet, and is obeyed by one process; a slot whose process was stopped and ended before takes in none that replaces another.
CREATE OR REPLACE FUNCTION replaced_process(p_prefix text, p_host text, p_sessions bigint[]) RETURNS SETOF worker_registry
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH gone AS MATERIALIZED (
        SELECT w.id, coalesce(w.ended_at, w.session_lost_at, CASE WHEN s.is_gone THEN clock_timestamp() ELSE w.last_heartbeat END) AS at
        FROM worker_registry w
        CROSS JOIN LATERAL (
            SELECT w.session_seen AND worker_session_key(w.incarnation) <> ALL (p_sessions) AS is_gone
        ) s
        WHERE slot_number(w.id, p_prefix) IS NOT NULL AND w.host = p_host AND NOT w.stats ? 'replaced_by' AND NOT slot_is_kept(w)
          AND (NOT has_process(w) OR s.is_gone)
    )
    SELECT w.* FROM worker_registry w JOIN gone g ON g.id = w.id
    WHERE g.at > (SELECT max(o.at) FROM gone o) - interval '10 seconds'
    ORDER BY w.desired = 'running', slot_number(w.id, p_prefix)
    LIMIT 1
$$;
