-- Gas is sent only within the chain's budgets, whoever asks for it: once per wallet and cooldown (FP001), at most so much
-- per top-up, per wallet and day, per day, and in all (FP002). A rejected top-up gives its share back; an expired
-- one keeps it, because it may be signed anew. One that was found on the chain is counted, whatever the limits say.
--
-- Top-ups of a chain are counted one after the other (lock_gas), so that two at the same moment cannot
-- both take the last of a budget. A day is the last 24 whole hours and the hour that runs. On violation
-- constraint_name is the limit's column in chains; DETAIL of FP001 is the time of the next possible top-up.

CREATE OR REPLACE FUNCTION count_gas(p_chain_id integer, p_at timestamptz, p_amount numeric) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $$
    INSERT INTO gas_spending AS g (chain_id, hour, topups, amount)
    VALUES (p_chain_id, date_trunc('hour', p_at, 'UTC'), 1, p_amount)
    ON CONFLICT (chain_id, hour) DO UPDATE SET topups = g.topups + 1, amount = g.amount + excluded.amount
$$;

CREATE OR REPLACE FUNCTION check_gas_budgets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    rules chains;
    previous timestamptz;
    wallet_day numeric;
    day numeric;
    total numeric;
    over_limit text;
    spent numeric;
    allowed numeric;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'gas budgets cannot be checked at isolation level %', current_setting('transaction_isolation') USING
            ERRCODE = 'feature_not_supported', HINT = 'Insert gas transfers at read committed.';
    END IF;
    PERFORM lock_gas(NEW.chain_id);
    IF NEW.found_on_chain THEN
        PERFORM count_gas(NEW.chain_id, NEW.created_at, NEW.amount);
        RETURN NULL;
    END IF;
    SELECT * INTO STRICT rules FROM chains c WHERE c.id = NEW.chain_id;

    SELECT max(t.created_at) INTO previous FROM transfers t
    WHERE t.wallet_id = NEW.wallet_id AND t.kind = 'gas' AND t.state <> 'rejected' AND t.id <> NEW.id
      AND t.created_at > NEW.created_at - rules.gas_cooldown;
    IF previous IS NOT NULL THEN
        RAISE EXCEPTION 'wallet % had a gas top-up at %: the next one is possible from % on (gas_cooldown %)',
            NEW.to_address, date_trunc('second', previous), date_trunc('second', previous + rules.gas_cooldown),
            rules.gas_cooldown
        USING ERRCODE = 'FP001', DETAIL = (previous + rules.gas_cooldown)::text,
              CONSTRAINT = 'gas_cooldown', TABLE = 'transfers';
    END IF;

    SELECT coalesce(sum(t.amount), 0) INTO wallet_day FROM transfers t
    WHERE t.wallet_id = NEW.wallet_id AND t.kind = 'gas' AND t.state <> 'rejected' AND t.id <> NEW.id
      AND t.created_at > NEW.created_at - interval '24 hours';
    SELECT coalesce(sum(g.amount) FILTER (WHERE g.hour >= date_trunc('hour', NEW.created_at - interval '24 hours', 'UTC')), 0),
           coalesce(sum(g.amount), 0)
    INTO day, total
    FROM gas_spending g
    WHERE g.chain_id = NEW.chain_id
      AND (rules.gas_max_total IS NOT NULL OR g.hour >= date_trunc('hour', NEW.created_at - interval '24 hours', 'UTC'));

    SELECT l.name, l.already, l.most INTO over_limit, spent, allowed
    FROM (VALUES
        ('gas_max_per_topup', 0, rules.gas_max_per_topup::numeric),
        ('gas_max_per_wallet_day', wallet_day, rules.gas_max_per_wallet_day::numeric),
        ('gas_max_per_day', day, rules.gas_max_per_day::numeric),
        ('gas_max_total', total, rules.gas_max_total::numeric)
    ) AS l (name, already, most)
    WHERE l.already + NEW.amount > l.most
    LIMIT 1;
    IF over_limit IS NOT NULL THEN
        RAISE EXCEPTION 'gas for wallet % refused: % on top of % would pass % = % on chain %',
            NEW.to_address, NEW.amount, spent, over_limit, allowed, rules.name
        USING ERRCODE = 'FP002', CONSTRAINT = over_limit, TABLE = 'transfers',
              HINT = format('Raise chains.%s if this is meant to be.', over_limit);
    END IF;

    PERFORM count_gas(NEW.chain_id, NEW.created_at, NEW.amount);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION return_gas_budget() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    UPDATE gas_spending g SET topups = g.topups - 1, amount = g.amount - NEW.amount
    WHERE g.chain_id = NEW.chain_id AND g.hour = date_trunc('hour', NEW.created_at, 'UTC');
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER gas_budgets AFTER INSERT ON transfers
FOR EACH ROW WHEN (NEW.kind = 'gas') EXECUTE FUNCTION check_gas_budgets();

CREATE OR REPLACE TRIGGER gas_budgets_return AFTER UPDATE ON transfers
FOR EACH ROW WHEN (NEW.kind = 'gas' AND NEW.state = 'rejected' AND OLD.state <> 'rejected')
EXECUTE FUNCTION return_gas_budget();
