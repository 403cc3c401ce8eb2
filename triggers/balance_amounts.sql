-- A balance is one amount in two forms: raw is the truth and human follows it; who writes human alone moves raw.

CREATE OR REPLACE FUNCTION keep_balance_amounts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT ('1' || repeat('0', a.decimals))::numeric INTO NEW.unit
        FROM asset_on_chain a WHERE a.id = NEW.asset_on_chain_id;
        IF NEW.unit IS NULL THEN
            RAISE EXCEPTION 'there is no asset % to hold a balance of', NEW.asset_on_chain_id USING
                ERRCODE = 'foreign_key_violation', HINT = 'The assets are in asset_on_chain.';
        END IF;
        IF NEW.on_chain_balance_raw = '0' AND NEW.on_chain_balance_human <> 0 THEN
            NEW.on_chain_balance_raw := trim_scale(NEW.on_chain_balance_human * NEW.unit)::text;
        END IF;
    ELSIF NEW.on_chain_balance_raw = OLD.on_chain_balance_raw THEN
        NEW.on_chain_balance_raw := trim_scale(NEW.on_chain_balance_human * NEW.unit)::text;
    END IF;
    -- Multiplying by 1/unit is exact where dividing by unit would round: 1/10^n has n digits.
    NEW.on_chain_balance_human := NEW.on_chain_balance_raw::numeric * trim_scale(1 / NEW.unit);
    NEW.changed_at := clock_timestamp();
    -- Whoever writes another amount knows it, unless the same statement asks for a recheck.
    IF TG_OP = 'INSERT' THEN
        NEW.recheck := NEW.recheck AND NEW.on_chain_balance_raw = '0';
    ELSIF OLD.recheck THEN
        NEW.recheck := false;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER balance_amounts_insert BEFORE INSERT ON wallet_balances
FOR EACH ROW EXECUTE FUNCTION keep_balance_amounts();

CREATE OR REPLACE TRIGGER balance_amounts_update BEFORE UPDATE ON wallet_balances
FOR EACH ROW WHEN (
    OLD.on_chain_balance_raw IS DISTINCT FROM NEW.on_chain_balance_raw
    OR OLD.on_chain_balance_human IS DISTINCT FROM NEW.on_chain_balance_human
) EXECUTE FUNCTION keep_balance_amounts();
