-- The gas spending of a chain is changed by one transaction after the other: held until commit by who counts a top-up
-- against the budgets (triggers/gas_budgets.sql), and by who compares the gas wallet's balance with what it was asked for.
CREATE OR REPLACE FUNCTION lock_gas(p_chain_id integer) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$ SELECT lock_row(format('gas of chain %s', p_chain_id)) $$;
