-- What operators do about alerts: SELECT acknowledge_alert('0198…'), SELECT silence_alerts('workers.*', '*', now() + interval '2 h', 'move').
--
-- Guarantees: each writes admin_actions for what it changed; none of them changes whether an alert is open, which its rule alone says.
-- `admin` is who does it (auth.users.id), NULL where only the database knows.

-- Somebody looks after an open alert: no reminder of it is sent any more. Returns rule and subject. Raises for one that there is not,
-- that is resolved, or that somebody acknowledged before.
CREATE OR REPLACE FUNCTION acknowledge_alert(alert text, admin uuid DEFAULT NULL) RETURNS TABLE (rule text, subject text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found alerts;
BEGIN
    SELECT * INTO found FROM alerts a WHERE a.id = job_uuid(alert) AND a.raised_at IS NOT NULL FOR UPDATE;
    IF found.id IS NULL THEN
        RAISE EXCEPTION 'there is no alert "%"', alert USING
            ERRCODE = 'no_data_found', HINT = 'Alerts are named by alerts.id: flagpost alerts list.';
    ELSIF found.resolved_at IS NOT NULL THEN
        RAISE EXCEPTION 'alert % has been resolved since %', alert, date_trunc('second', found.resolved_at) USING
            ERRCODE = 'FP003', HINT = 'See what is open: flagpost alerts list.';
    ELSIF found.acknowledged_at IS NOT NULL THEN
        RAISE EXCEPTION 'alert % was acknowledged by % at %', alert, found.acknowledged_by,
            date_trunc('second', found.acknowledged_at) USING
            ERRCODE = 'FP003', HINT = 'Nobody is reminded of it any more.';
    END IF;
    UPDATE alerts a SET acknowledged_at = now(), acknowledged_by = coalesce(admin::text, session_user) WHERE a.id = found.id;
    PERFORM write_admin_action('alert.acknowledge', 'alert', found.id::text, jsonb_build_object(
        'rule', found.rule, 'subject', found.subject, 'summary', found.summary), admin);
    RETURN QUERY SELECT found.rule, found.subject;
END
$$;
REVOKE ALL ON FUNCTION acknowledge_alert(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION acknowledge_alert(text, uuid) IS 'Ends the reminders of an alert: SELECT acknowledge_alert(''0198…'')';

-- Holds back whatever would be sent of alerts whose rule and subject fit these patterns (* stands for any characters), until that
-- time; what is still open then is sent. Returns the silence's id. Raises for a time that is past or more than a year ahead, and
-- without a reason.
CREATE OR REPLACE FUNCTION silence_alerts(rule text, subject text, until timestamptz, reason text, admin uuid DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    made uuid;
BEGIN
    IF silence_alerts.rule !~ '^[a-z_.*]+$' THEN
        RAISE EXCEPTION '"%" is no pattern of rules', silence_alerts.rule USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Rules are such as gas.low; * stands for any characters.';
    ELSIF silence_alerts.until <= now() OR silence_alerts.until > now() + interval '366 days' THEN
        RAISE EXCEPTION 'a silence cannot last until %', silence_alerts.until USING
            ERRCODE = 'invalid_parameter_value', HINT = 'It ends in the future, within a year.';
    ELSIF btrim(silence_alerts.reason) = '' THEN
        RAISE EXCEPTION 'a silence needs a reason' USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Whoever finds nothing in the mail reads it.';
    END IF;
    INSERT INTO alert_silences (rule, subject, until, reason, silenced_by)
    VALUES (silence_alerts.rule, coalesce(silence_alerts.subject, '*'), silence_alerts.until, silence_alerts.reason,
            coalesce(admin::text, session_user))
    RETURNING id INTO made;
    PERFORM write_admin_action('alerts.silence', 'silence', made::text, jsonb_build_object(
        'rule', silence_alerts.rule, 'subject', coalesce(silence_alerts.subject, '*'), 'until', silence_alerts.until,
        'reason', silence_alerts.reason), admin);
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION silence_alerts(text, text, timestamptz, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION silence_alerts(text, text, timestamptz, text, uuid) IS
    'Holds deliveries of alerts back: SELECT silence_alerts(''workers.*'', ''*'', now() + interval ''2 hours'', ''we move hosts'')';

-- Ends a silence: what it held back and is still open is sent. Returns its rule and subject. Raises for one that there is not, or that
-- has ended.
CREATE OR REPLACE FUNCTION end_silence(silence text, admin uuid DEFAULT NULL) RETURNS TABLE (rule text, subject text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found alert_silences;
BEGIN
    SELECT * INTO found FROM alert_silences s WHERE s.id = job_uuid(silence) FOR UPDATE;
    IF found.id IS NULL THEN
        RAISE EXCEPTION 'there is no silence "%"', silence USING
            ERRCODE = 'no_data_found', HINT = 'They are named by alert_silences.id: flagpost alerts silences.';
    ELSIF found.ended_at IS NOT NULL OR found.until <= now() THEN
        RAISE EXCEPTION 'silence % ended at %', silence, date_trunc('second', least(found.ended_at, found.until)) USING
            ERRCODE = 'FP003', HINT = 'See those in force: flagpost alerts silences.';
    END IF;
    UPDATE alert_silences s SET ended_at = now() WHERE s.id = found.id;
    PERFORM write_admin_action('alerts.end_silence', 'silence', found.id::text, jsonb_build_object(
        'rule', found.rule, 'subject', found.subject, 'until', found.until, 'reason', found.reason), admin);
    RETURN QUERY SELECT found.rule, found.subject;
END
$$;
REVOKE ALL ON FUNCTION end_silence(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION end_silence(text, uuid) IS 'Ends a silence of alerts: SELECT end_silence(''0198…'')';
