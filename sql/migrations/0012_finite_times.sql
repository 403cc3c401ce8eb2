-- A job is due at a time that can be counted with: how long it waited is run_at taken from now, which Postgres 15 and 16
-- refuse of infinity, and one row typed by hand would have ended every worker of its type.
--
-- NOT VALID, so that a row from before stands in nobody's way; it holds for every row that is written.
ALTER TABLE job_logs ADD CONSTRAINT run_at_is_finite CHECK (isfinite(run_at)) NOT VALID;
