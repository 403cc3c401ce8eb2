-- What an operator does after `flagpost adopt` with wallets that had a job under way: once it is known whether that job paid, the
-- wallet gets its derivation index back, is read afresh, and may be paid again.
--
-- Guarantees: an index is given back only to a wallet that lost it when the database was adopted; admin_actions says to which.

-- Wallets of ours that are frozen because a job of unknown state may have paid, with the index that each gets back, and those jobs.
CREATE OR REPLACE FUNCTION frozen_since_adoption()
RETURNS TABLE (wallet_id uuid, chain_id integer, address text, derivation_index bigint, jobs text[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT w.id, w.chain_id, w.address, min(frozen.index::bigint), array_agg(j.job_id ORDER BY j.created_at, j.job_id)
    FROM job_logs j
    CROSS JOIN LATERAL jsonb_each_text(
        CASE jsonb_typeof(j.data #> '{adopted,frozen}') WHEN 'object' THEN j.data #> '{adopted,frozen}' ELSE '{}' END
    ) AS frozen (wallet, index)
    JOIN wallets w ON w.id::text = frozen.wallet AND w.derivation_index IS NULL
    GROUP BY w.id, w.chain_id, w.address
$$;

CREATE OR REPLACE FUNCTION release_adopted_wallets(addresses text[], admin uuid DEFAULT NULL)
RETURNS TABLE (address text, derivation_index bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    others text;
    released jsonb;
BEGIN
    SELECT string_agg(DISTINCT given.address, ', ') INTO others
    FROM unnest(addresses) AS given (address)
    WHERE given.address NOT IN (SELECT h.address FROM frozen_since_adoption() h);
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'not frozen since the adoption: %', others USING
            ERRCODE = 'no_data_found', HINT = 'flagpost adopt frozen lists the wallets that are.';
    END IF;
    WITH given_back AS (
        UPDATE wallets w SET derivation_index = h.derivation_index
        FROM frozen_since_adoption() h WHERE w.id = h.wallet_id AND h.address = ANY (addresses)
        RETURNING w.address, w.derivation_index
    )
    SELECT jsonb_agg(jsonb_build_object('address', g.address, 'index', g.derivation_index) ORDER BY g.address)
    INTO released FROM given_back g;
    PERFORM write_admin_action('wallets.release_adopted', 'wallet', array_to_string(addresses[1:5], ', '),
                               jsonb_build_object('wallets', released), admin);
    RETURN QUERY SELECT one.wallet ->> 'address', (one.wallet ->> 'index')::bigint
                 FROM jsonb_array_elements(released) AS one (wallet);
END
$$;
REVOKE ALL ON FUNCTION frozen_since_adoption() FROM PUBLIC;
REVOKE ALL ON FUNCTION release_adopted_wallets(text[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION release_adopted_wallets(text[], uuid) IS
    'Wallets that had a job under way at the adoption, once that is settled: SELECT * FROM release_adopted_wallets(ARRAY[''T…''])';
