-- What a job has come to: its latest payment of each asset that was not given up. A payment that reverted and was made
-- anew counts by the new one.
CREATE OR REPLACE FUNCTION job_payments(p_job_id uuid)
RETURNS TABLE (transfer_id bigint, asset_id uuid, state text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT DISTINCT ON (t.asset_on_chain_id) t.id, t.asset_on_chain_id, t.state
    FROM transfers t
    WHERE t.job_id = p_job_id AND t.state <> 'rejected'
    ORDER BY t.asset_on_chain_id, t.id DESC
$$;
