-- Alerts: raised, reminded of and resolved by the sweep that leads, and sent by it (pipeline/alerts, pipeline/workers/alerts.py).
--
-- Guarantees: an alert that lasts is one row; whoever is to be told has a row in alert_deliveries from the same transaction on; one
-- delivery is sent by one process at a time, and again after its lease where nobody noted the outcome, so that it arrives at least
-- once; of one alert and channel the events are sent in order. An acknowledgement ends reminders; a silence holds deliveries back
-- and changes no alert. No time is believed that a clock which was wrong for a while has written ahead.

-- Whether a text fits a pattern, in which * stands for any characters.
CREATE OR REPLACE FUNCTION alert_pattern_fits(p_pattern text, p_text text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT p_text LIKE replace(replace(replace(replace(p_pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
$$;

-- Whether deliveries of a rule and a subject are held back now.
CREATE OR REPLACE FUNCTION alert_is_silenced(p_rule text, p_subject text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM alert_silences s
        WHERE s.ended_at IS NULL AND s.until > now()
          AND alert_pattern_fits(s.rule, p_rule) AND alert_pattern_fits(s.subject, p_subject))
$$;

-- What one evaluation of a rule found: an array of {"subject", "severity", "summary", "action", "value"}, one of a subject.
-- Raises what has lasted for `p_lasting`, reminds of what was raised or reminded of `p_remind` ago and nobody acknowledged, and
-- resolves what two evaluations in a row did not find. One that becomes critical is raised again, and has to be acknowledged again.
-- `p_channels`: who is told. Returns what was done, for the log.
CREATE OR REPLACE FUNCTION record_alerts(
    p_rule text, p_found jsonb, p_channels text[], p_lasting interval, p_remind interval
) RETURNS TABLE (event text, alert_id uuid, subject text, severity text, summary text, action text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    told record;
BEGIN
    -- One evaluation of a rule after the other: two of them at once are not two in a row.
    PERFORM lock_row(format('alerts of %s', p_rule));

    FOR told IN
        WITH found AS (
            SELECT DISTINCT ON (f.subject) f.* FROM jsonb_to_recordset(p_found) AS f (
                subject text, severity text, summary text, action text, value numeric)
            ORDER BY f.subject, f.severity = 'critical' DESC
        ), before AS (
            SELECT a.id, a.raised_at, a.severity FROM alerts a WHERE a.rule = p_rule AND a.resolved_at IS NULL
        ), seen AS (
            INSERT INTO alerts AS a (rule, subject, severity, summary, action, value, raised_at, reminded_at)
            SELECT p_rule, f.subject, f.severity, f.summary, f.action, f.value, now_raised.at, now_raised.at
            FROM found f
            CROSS JOIN LATERAL (SELECT CASE WHEN p_lasting <= interval '0' THEN now() END AS at) now_raised
            ON CONFLICT (rule, subject) WHERE resolved_at IS NULL DO UPDATE SET
                severity = excluded.severity, summary = excluded.summary, action = excluded.action, value = excluded.value,
                last_seen_at = now(), count = a.count + 1, missed = 0,
                raised_at = coalesce(a.raised_at, CASE
                    WHEN a.first_seen_at <= now() - p_lasting OR a.first_seen_at > now() + interval '1 minute' THEN now() END),
                acknowledged_at = CASE WHEN a.severity = excluded.severity OR excluded.severity = 'warning'
                                       THEN a.acknowledged_at END,
                acknowledged_by = CASE WHEN a.severity = excluded.severity OR excluded.severity = 'warning'
                                       THEN a.acknowledged_by END
            RETURNING a.*
        )
        SELECT s.id, s.subject, s.severity, s.summary, s.action, CASE
            WHEN s.raised_at IS NULL THEN NULL
            WHEN b.raised_at IS NULL OR (s.severity = 'critical' AND b.severity = 'warning') THEN 'raised'
            WHEN s.acknowledged_at IS NULL AND NOT alert_is_silenced(s.rule, s.subject)
                 AND (s.reminded_at <= now() - p_remind OR s.reminded_at > now() + interval '1 minute')
            THEN 'reminder'
        END AS event
        FROM seen s LEFT JOIN before b ON b.id = s.id
        ORDER BY s.severity = 'warning', s.subject
    LOOP
        CONTINUE WHEN told.event IS NULL;
        UPDATE alerts a SET reminded_at = now() WHERE a.id = told.id;
        INSERT INTO alert_deliveries (alert_id, channel, event)
        SELECT told.id, c.channel, told.event FROM unnest(p_channels) AS c (channel)
        -- Who has not got what came before is not reminded of it.
        WHERE told.event = 'raised' OR NOT EXISTS (
            SELECT FROM alert_deliveries d WHERE d.alert_id = told.id AND d.channel = c.channel AND d.state = 'pending');
        RETURN QUERY SELECT told.event, told.id, told.subject, told.severity, told.summary, told.action;
    END LOOP;

    UPDATE alerts a SET missed = a.missed + 1
    WHERE a.rule = p_rule AND a.resolved_at IS NULL
      AND a.subject NOT IN (SELECT f ->> 'subject' FROM jsonb_array_elements(p_found) AS f);
    DELETE FROM alerts a WHERE a.rule = p_rule AND a.raised_at IS NULL AND a.missed >= 2;
    FOR told IN
        UPDATE alerts a SET resolved_at = now()
        WHERE a.rule = p_rule AND a.resolved_at IS NULL AND a.missed >= 2
        RETURNING a.*
    LOOP
        -- Who was told of nothing, because of a silence, need not be told that it is over.
        DELETE FROM alert_deliveries d
        WHERE d.alert_id = told.id AND d.state = 'pending' AND d.attempts = 0 AND alert_is_silenced(p_rule, told.subject);
        INSERT INTO alert_deliveries (alert_id, channel, event)
        SELECT DISTINCT told.id, d.channel, 'resolved' FROM alert_deliveries d WHERE d.alert_id = told.id;
        RETURN QUERY SELECT 'resolved'::text, told.id, told.subject, told.severity, told.summary, told.action;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION record_alerts(text, jsonb, text[], interval, interval) FROM PUBLIC;

-- Resolves what is open of rules that are evaluated no more: switched off, or of another version. Nobody is told; returns how many.
CREATE OR REPLACE FUNCTION close_alerts_of_other_rules(p_rules text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    closed bigint;
BEGIN
    DELETE FROM alerts a WHERE a.raised_at IS NULL AND a.rule <> ALL (p_rules);
    WITH closing AS (
        UPDATE alerts a SET resolved_at = now() WHERE a.resolved_at IS NULL AND a.rule <> ALL (p_rules) RETURNING a.id
    ), untold AS (
        DELETE FROM alert_deliveries d USING closing c WHERE d.alert_id = c.id AND d.state = 'pending'
    )
    SELECT count(*) INTO closed FROM closing;
    RETURN closed;
END
$$;
REVOKE ALL ON FUNCTION close_alerts_of_other_rules(text[]) FROM PUBLIC;

-- Deletes alerts that were resolved 90 days ago, and silences that ended then; gives up deliveries that no process had the channel
-- for in a day. Returns how many alerts went.
CREATE OR REPLACE FUNCTION forget_old_alerts() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM alert_silences s WHERE least(s.until, s.ended_at) < now() - interval '90 days';
    UPDATE alert_deliveries d SET state = 'failed', ended_at = now(), last_error = 'no sweep that led has this channel'
    FROM alerts a
    WHERE a.id = d.alert_id AND d.state = 'pending' AND d.attempts = 0 AND d.created_at < now() - interval '1 day'
      AND d.next_attempt_at < now() - interval '1 day' AND NOT alert_is_silenced(a.rule, a.subject);
    DELETE FROM alerts a WHERE a.resolved_at < now() - interval '90 days';
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END
$$;
REVOKE ALL ON FUNCTION forget_old_alerts() FROM PUBLIC;

-- Takes up to `p_limit` deliveries to these channels, for whoever sends them now and notes the outcome within `p_lease`. A delivery
-- that is silenced, or waits for an earlier one of the same alert and channel, is not taken.
CREATE OR REPLACE FUNCTION claim_alert_deliveries(p_channels text[], p_limit integer, p_lease interval)
RETURNS TABLE (
    delivery_id bigint, attempt integer, channel text, event text, alert_id uuid, rule text, subject text, severity text,
    summary text, action text, value numeric, raised_at timestamptz, last_seen_at timestamptz, resolved_at timestamptz,
    acknowledged_at timestamptz, count bigint
)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH due AS (
        SELECT d.id FROM alert_deliveries d JOIN alerts a ON a.id = d.alert_id
        WHERE d.state = 'pending' AND (d.next_attempt_at <= now() OR d.next_attempt_at > now() + interval '2 hours')
          AND d.channel = ANY (p_channels)
          AND NOT alert_is_silenced(a.rule, a.subject)
          AND NOT EXISTS (
              SELECT FROM alert_deliveries e
              WHERE e.alert_id = d.alert_id AND e.channel = d.channel AND e.state = 'pending' AND e.id < d.id)
        ORDER BY d.next_attempt_at, d.id
        LIMIT p_limit
        FOR UPDATE OF d SKIP LOCKED
    ), taken AS (
        UPDATE alert_deliveries d SET
            attempts = d.attempts + 1, next_attempt_at = clock_timestamp() + p_lease,
            first_attempt_at = coalesce(d.first_attempt_at, clock_timestamp())
        FROM due WHERE d.id = due.id
        RETURNING d.*
    )
    SELECT t.id, t.attempts, t.channel, t.event, a.id, a.rule, a.subject, a.severity, a.summary, a.action, a.value, a.raised_at,
           a.last_seen_at, a.resolved_at, a.acknowledged_at, a.count
    FROM taken t JOIN alerts a ON a.id = t.alert_id
    ORDER BY t.id
$$;
REVOKE ALL ON FUNCTION claim_alert_deliveries(text[], integer, interval) FROM PUBLIC;

-- Notes what became of an attempt: `p_error` NULL: it arrived. A failure is tried again after 5 s, doubled up to an hour, less up to
-- half of it at random, and given up a day after the first attempt. Returns the state; NULL, and nothing is written, where another
-- process has taken the delivery since.
CREATE OR REPLACE FUNCTION note_alert_delivery(p_id bigint, p_attempt integer, p_error text) RETURNS text
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE alert_deliveries d SET
        state = after.state, last_error = p_error,
        ended_at = CASE WHEN after.state <> 'pending' THEN clock_timestamp() END,
        next_attempt_at = clock_timestamp()
            + least(interval '1 hour', interval '5 seconds' * 2 ^ least(p_attempt - 1, 20)) * (0.5 + random() / 2)
    FROM (
        SELECT o.id, CASE
            WHEN p_error IS NULL THEN 'delivered'
            WHEN o.first_attempt_at < clock_timestamp() - interval '1 day' THEN 'failed'
            ELSE 'pending'
        END AS state
        FROM alert_deliveries o WHERE o.id = p_id
    ) after
    WHERE d.id = after.id AND d.attempts = p_attempt AND d.state = 'pending'
    RETURNING d.state
$$;
REVOKE ALL ON FUNCTION note_alert_delivery(bigint, integer, text) FROM PUBLIC;
