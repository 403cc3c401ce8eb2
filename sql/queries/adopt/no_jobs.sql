-- A database without the table job_logs.
CREATE TEMPORARY TABLE adopting_jobs (
    row jsonb, id uuid, job_type text, wallet_id uuid, chain_id integer, old_status text, is_unknown boolean,
    frozen jsonb, status text, is_known boolean
) ON COMMIT DROP;
