-- What an asset is (chain, contract, decimals) is fixed once money was counted in it: a changed decimal would turn
-- every stored amount into another one. Before that a mistake can be corrected, and its balances follow.

CREATE OR REPLACE FUNCTION keep_asset_identity() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF OLD.chain_id <> NEW.chain_id
       OR EXISTS (SELECT FROM transfers t WHERE t.asset_on_chain_id = OLD.id)
       OR EXISTS (SELECT FROM wallet_balances b WHERE b.asset_on_chain_id = OLD.id AND b.on_chain_balance_raw <> '0')
    THEN
        RAISE EXCEPTION 'chain, contract_address and decimals of asset % (%) cannot change any more', OLD.id, OLD.symbol USING
            ERRCODE = 'FP004',
            HINT = 'Set is_active = false on it, and insert the right asset as a new row.';
    END IF;
    UPDATE wallet_balances b
    SET unit = ('1' || repeat('0', NEW.decimals))::numeric, recheck = true, next_check_at = least(b.next_check_at, now()),
        processing_status = 'idle', locked_by = NULL, locked_until = NULL
    WHERE b.asset_on_chain_id = OLD.id;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER asset_identity BEFORE UPDATE ON asset_on_chain
FOR EACH ROW WHEN (
    (OLD.id, OLD.chain_id, OLD.contract_address, OLD.decimals)
    IS DISTINCT FROM (NEW.id, NEW.chain_id, NEW.contract_address, NEW.decimals)
) EXECUTE FUNCTION keep_asset_identity();
