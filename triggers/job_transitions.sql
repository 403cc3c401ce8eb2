-- A job's status moves only along state_transitions, every claim raises its lease, and its id stays.
--
-- The rows of state_transitions are written into the condition, so that a move that is allowed calls nothing: they come with the
-- schema (sql/functions/state_transitions.sql is applied before), and whoever edits the table changes no rule.

CREATE OR REPLACE FUNCTION refuse_job_move() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF OLD.id <> NEW.id THEN
        RAISE EXCEPTION 'the id of a job cannot change' USING ERRCODE = 'FP004';
    END IF;
    IF EXISTS (SELECT FROM state_transitions t
               WHERE t.subject = 'job' AND t.from_state = OLD.status AND t.to_state = NEW.status) THEN
        RAISE EXCEPTION 'job % was claimed without raising its lease (%)', OLD.job_id, OLD.lease USING
            ERRCODE = 'FP003', HINT = 'Set lease = lease + 1, so that an earlier worker cannot finish this attempt.';
    END IF;
    RAISE EXCEPTION 'job % is % and cannot become %', OLD.job_id, OLD.status, NEW.status USING
        ERRCODE = 'FP003',
        HINT = coalesce((SELECT format('From %s it may become %s.', OLD.status,
                                       string_agg(t.to_state, ', ' ORDER BY t.to_state))
                         FROM state_transitions t WHERE t.subject = 'job' AND t.from_state = OLD.status),
                        'It has finished: queue a new job instead.');
END
$$;

DO $$
DECLARE
    moves text;
BEGIN
    SELECT string_agg(format('WHEN %L THEN NEW.status IN (%s)', m.from_state, m.ends), ' ' ORDER BY m.from_state) INTO moves
    FROM (
        SELECT t.from_state, string_agg(quote_literal(t.to_state), ', ' ORDER BY t.to_state) AS ends
        FROM state_transitions t WHERE t.subject = 'job' GROUP BY t.from_state
    ) m;
    -- After the row is written, so that no other trigger has the last word.
    EXECUTE format($trigger$
        CREATE OR REPLACE TRIGGER job_transitions AFTER UPDATE ON job_logs
        FOR EACH ROW WHEN (
            OLD.id <> NEW.id
            OR (OLD.status <> NEW.status
                AND (NOT CASE OLD.status %s ELSE false END OR (NEW.status = 'active' AND NEW.lease <= OLD.lease))))
        EXECUTE FUNCTION refuse_job_move()
    $trigger$, moves);
END
$$;
