-- What gas has cost on a chain, amounts and fees, in the smallest unit of its coin: within a day, and in all.
--
-- Guarantees: reads only; a day is what gas_max_per_day is compared with (check_spending): the last 24 whole hours and the hour that
-- runs; what was counted further ahead, while a clock was wrong, is in the total alone.
CREATE OR REPLACE FUNCTION gas_spent(p_chain_id integer) RETURNS TABLE (day numeric, total numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT coalesce(sum(g.amount + g.fees) FILTER (WHERE g.hour >= date_trunc('hour', now() - interval '24 hours', 'UTC')
                                                     AND g.hour <= now() + interval '1 hour'), 0),
           coalesce(sum(g.amount + g.fees), 0)
    FROM gas_spending g WHERE g.chain_id = p_chain_id
$$;
