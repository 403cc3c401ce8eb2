-- What triggers did not do, found and done: for rows that were written under session_replication_role = replica (bulk loads,
-- logical replication), or while a trigger was disabled. Called by the sweep, a page at a time.
--
-- Guarantees: nothing of what money is or was (transfers, chain_transactions, nonces, senders, gas_spending) is written here;
-- a flag is never raised here: where nobody judged a balance, it is read again and judged then; a flag that an operator or a
-- job lowered stays down as long as the amounts stay; an operator's flag stays up. Locks jobs, then balances, then wallets, each
-- in the order of id, as everybody does.

-- In a range of wallet ids: those with a balance in another unit than its asset's decimals say (`wrong_units`), and those of ours
-- whose flag is down though the rule wants it up, and did not fall since an amount that it hangs on changed: nobody judged that
-- amount (`unjudged`). What fell before this was recorded ('epoch') fell at the wallet's last change at the latest.
--
-- One pass over the balances finds who may be concerned, by the thresholds of wallet_flag_rule; the rule itself, which costs
-- three times as much, is asked about those alone.
CREATE OR REPLACE FUNCTION compare_balances(p_after uuid, p_up_to uuid) RETURNS TABLE (wrong_units uuid[], unjudged uuid[])
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    SELECT array_agg(w.id) FILTER (WHERE held.wrong_unit),
           array_agg(w.id) FILTER (WHERE w.derivation_index >= 10 AND (
               (held.short_of_gas AND NOT w.needs_gas AND (held.coin_changed_at <=
                   CASE WHEN w.gas_flag_fell_at <> 'epoch' THEN w.gas_flag_fell_at
                        WHEN w.gas_flag_fell_at = 'epoch' AND w.updated_at > w.created_at THEN w.updated_at END) IS NOT TRUE)
               OR (held.tokens_to_move AND NOT w.needs_consolidation AND (held.tokens_changed_at <=
                   CASE WHEN w.consolidation_flag_fell_at <> 'epoch' THEN w.consolidation_flag_fell_at
                        WHEN w.consolidation_flag_fell_at = 'epoch' AND w.updated_at > w.created_at THEN w.updated_at
                   END) IS NOT TRUE)))
    INTO wrong_units, unjudged
    FROM (
        SELECT b.wallet_id,
               bool_or(b.unit <> a.unit) AS wrong_unit,
               bool_or(a.is_coin AND NOT b.recheck AND b.on_chain_balance_raw::numeric < a.threshold)
                   AND (bool_and(a.gas_policy = 'threshold')
                        OR bool_or(a.is_token AND NOT b.recheck AND b.on_chain_balance_raw::numeric > a.threshold)) AS short_of_gas,
               bool_or(a.is_token AND NOT b.recheck AND b.on_chain_balance_raw::numeric > a.threshold) AS tokens_to_move,
               max(b.changed_at) FILTER (WHERE a.is_coin OR a.gas_policy = 'on_demand') AS coin_changed_at,
               max(b.changed_at) FILTER (WHERE a.is_token) AS tokens_changed_at
        FROM wallet_balances b
        JOIN (
            SELECT a.id, ('1' || repeat('0', a.decimals))::numeric AS unit, c.gas_policy,
                   a.is_active AND a.contract_address IS NULL AS is_coin,
                   a.is_active AND a.contract_address IS NOT NULL AS is_token,
                   CASE WHEN a.contract_address IS NULL THEN c.gas_flag_below ELSE a.consolidate_flag_above END AS threshold
            FROM asset_on_chain a JOIN chains c ON c.id = a.chain_id
            OFFSET 0
        ) a ON a.id = b.asset_on_chain_id
        WHERE b.wallet_id > p_after AND b.wallet_id <= p_up_to
        GROUP BY b.wallet_id
    ) held
    -- A probe for each wallet: of a range of UUIDs the planner cannot tell how wide it is.
    CROSS JOIN LATERAL (SELECT one.* FROM wallets one WHERE one.id = held.wallet_id OFFSET 0) w;

    IF unjudged IS NOT NULL THEN
        SELECT array_agg(w.id) INTO unjudged
        FROM wallet_flag_rule rule JOIN wallets w ON w.id = rule.wallet_id
        WHERE rule.wallet_id = ANY (unjudged)
          AND ((rule.needs_gas AND NOT w.needs_gas) OR (rule.needs_consolidation AND NOT w.needs_consolidation));
    END IF;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION compare_balances(uuid, uuid) FROM PUBLIC;

-- Compares the next `p_wallets` wallets behind the id `p_after` with what triggers keep of them; `up_to` is the last of them,
-- NULL where there is none left. Counts what was missing:
--   balances_created   a balance of an active asset: the wallet was never read
--   units_corrected    a balance in another unit than its asset's decimals say
--   flags_judged       an amount that decided no flag: the wallet's balances are read again at once, and decide
--   flag_times_set     a flag that is up since nobody knows when
--   jobs_completed     a job that waits without chain or address
CREATE OR REPLACE FUNCTION repair_wallets(p_after uuid, p_wallets integer)
RETURNS TABLE (
    up_to uuid, balances_created bigint, units_corrected bigint, flags_judged bigint, flag_times_set bigint,
    jobs_completed bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found record;
    wrong uuid[];
BEGIN
    SELECT page.id INTO up_to
    FROM (SELECT w.id FROM wallets w WHERE w.id > p_after ORDER BY w.id LIMIT p_wallets) page
    ORDER BY page.id DESC LIMIT 1;
    balances_created := 0;
    units_corrected := 0;
    flags_judged := 0;
    flag_times_set := 0;
    jobs_completed := 0;
    IF up_to IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    UPDATE job_logs j SET chain_id = w.chain_id, wallet_address = coalesce(j.wallet_address, w.address)
    FROM wallets w
    WHERE j.wallet_id > p_after AND j.wallet_id <= up_to AND j.completed_at IS NULL
      AND (j.chain_id IS NULL OR j.wallet_address IS NULL) AND j.status IN ('pending', 'retrying') AND w.id = j.wallet_id;
    GET DIAGNOSTICS jobs_completed = ROW_COUNT;

    INSERT INTO wallet_balances (wallet_id, asset_on_chain_id)
    SELECT w.id, a.id
    FROM wallets w
    JOIN asset_on_chain a ON a.chain_id = w.chain_id AND a.is_active
    WHERE w.id > p_after AND w.id <= up_to
      AND NOT EXISTS (
          -- A probe for each wallet and asset, likewise.
          SELECT FROM wallet_balances b WHERE b.wallet_id = w.id AND b.asset_on_chain_id = a.id OFFSET 0)
    ORDER BY w.id, a.id
    ON CONFLICT (wallet_id, asset_on_chain_id) DO NOTHING;
    GET DIAGNOSTICS balances_created = ROW_COUNT;

    SELECT * INTO found FROM compare_balances(p_after, up_to);
    IF found.wrong_units IS NOT NULL THEN
        PERFORM FROM wallet_balances b WHERE b.wallet_id = ANY (found.wrong_units) ORDER BY b.id FOR NO KEY UPDATE;
        UPDATE wallet_balances b
        SET unit = asset.unit, on_chain_balance_human = b.on_chain_balance_raw::numeric * trim_scale(1 / asset.unit)
        FROM (SELECT a.id, ('1' || repeat('0', a.decimals))::numeric AS unit FROM asset_on_chain a) asset
        WHERE b.wallet_id = ANY (found.wrong_units) AND asset.id = b.asset_on_chain_id AND b.unit <> asset.unit;
        GET DIAGNOSTICS units_corrected = ROW_COUNT;
    END IF;
    flags_judged := coalesce(cardinality(found.unjudged), 0);
    PERFORM make_balances_due(found.wrong_units || found.unjudged)
    WHERE cardinality(found.wrong_units || found.unjudged) > 0;

    wrong := ARRAY(
        SELECT w.id FROM wallets w
        WHERE w.id > p_after AND w.id <= up_to
          AND ((w.needs_gas AND w.needs_gas_since IS NULL)
            OR (w.needs_consolidation AND w.needs_consolidation_since IS NULL)
            OR (w.needs_consolidation AND NOT w.needs_gas AND w.consolidation_ready_since IS NULL))
        ORDER BY w.id FOR NO KEY UPDATE);
    IF cardinality(wrong) > 0 THEN
        UPDATE wallets w SET
            flag_xid = NULL,
            needs_gas_since = CASE WHEN w.needs_gas THEN coalesce(w.needs_gas_since, now()) END,
            needs_consolidation_since = CASE WHEN w.needs_consolidation THEN coalesce(w.needs_consolidation_since, now()) END,
            consolidation_ready_since =
                CASE WHEN w.needs_consolidation AND NOT w.needs_gas THEN coalesce(w.consolidation_ready_since, now()) END
        WHERE w.id = ANY (wrong);
        flag_times_set := cardinality(wrong);
    END IF;

    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION repair_wallets(uuid, integer) FROM PUBLIC;

-- Waiting jobs that nobody can claim or end, as job_wallets and sync_jobs did not fire for them; up to `p_jobs` of each kind:
--   jobs_completed   a job got the wallet of its address
--   jobs_refused     no wallet, or several, or one with a live job already: it is ended, and says why
--   syncs_made_due   a sync job whose balances are not due
CREATE OR REPLACE FUNCTION repair_jobs(p_jobs integer)
RETURNS TABLE (jobs_completed bigint, jobs_refused bigint, syncs_made_due bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    job record;
    refusal text;
    syncs uuid[];
BEGIN
    jobs_completed := 0;
    jobs_refused := 0;
    FOR job IN
        SELECT j.id, j.job_id, j.wallet_address, found.*
        FROM job_logs j
        CROSS JOIN LATERAL (
            SELECT count(*) AS matches, (array_agg(w.id))[1] AS wallet_id, (array_agg(w.chain_id))[1] AS chain_id,
                   (array_agg(w.user_id))[1] AS user_id
            FROM wallets w JOIN chains c ON c.id = w.chain_id
            WHERE w.address = j.wallet_address
              AND (j.chain_id IS NULL OR w.chain_id = j.chain_id)
              AND (j.data ->> 'chain' IS NULL OR c.name = j.data ->> 'chain')
        ) found
        WHERE j.wallet_id IS NULL AND j.completed_at IS NULL
          AND j.status <> 'active' AND j.job_type IN ('sync', 'gas-topup', 'consolidation', 'withdrawal')
        ORDER BY j.id
        LIMIT p_jobs
        FOR NO KEY UPDATE OF j SKIP LOCKED
    LOOP
        refusal := CASE
            WHEN job.wallet_address IS NULL THEN 'it has no wallet_address'
            WHEN job.matches = 0 THEN format('there is no wallet with the address "%s"', job.wallet_address)
            WHEN job.matches > 1 THEN format('the address "%s" is a wallet on several chains: data has to say which', job.wallet_address)
        END;
        IF refusal IS NULL THEN
            BEGIN
                UPDATE job_logs j
                SET wallet_id = job.wallet_id, chain_id = job.chain_id, user_id = coalesce(j.user_id, job.user_id)
                WHERE j.id = job.id;
                jobs_completed := jobs_completed + 1;
                CONTINUE;
            EXCEPTION WHEN unique_violation THEN
                refusal := 'its wallet has a live job of this type already';
            END;
        END IF;
        UPDATE job_logs j
        SET status = 'failed', completed_at = clock_timestamp(), error_message = 'inserted while triggers did not fire: ' || refusal
        WHERE j.id = job.id;
        jobs_refused := jobs_refused + 1;
    END LOOP;

    syncs := ARRAY(
        SELECT j.wallet_id FROM job_logs j
        WHERE j.job_type = 'sync' AND j.queued AND NOT j.awaiting_chain AND j.status IN ('pending', 'retrying')
          AND j.run_at < now() - interval '1 minute' AND j.wallet_id IS NOT NULL
          AND NOT EXISTS (
              SELECT FROM wallet_balances b
              WHERE b.wallet_id = j.wallet_id AND (b.next_check_at <= now() OR b.processing_status = 'processing') OFFSET 0)
        LIMIT p_jobs);
    IF cardinality(syncs) > 0 THEN
        PERFORM make_balances_due(syncs);
    END IF;
    syncs_made_due := cardinality(syncs);
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION repair_jobs(integer) FROM PUBLIC;
