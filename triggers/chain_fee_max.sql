-- A chain that is inserted without fee_max gets gas_max_per_topup for it: a transaction that costs more than the largest top-up
-- could not be paid for by one. No chain is without a bound.

CREATE OR REPLACE FUNCTION bound_fees_of_chain() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.fee_max := NEW.gas_max_per_topup;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER chain_fee_max BEFORE INSERT ON chains
FOR EACH ROW WHEN (NEW.fee_max IS NULL AND NEW.gas_max_per_topup > 0) EXECUTE FUNCTION bound_fees_of_chain();
