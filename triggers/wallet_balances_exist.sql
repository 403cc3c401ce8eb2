-- Every wallet has a balance of every active asset of its chain, due at once: a new wallet gets one per asset, a new
-- or reactivated asset one per wallet. A wallet whose address or derivation changed is read afresh.

CREATE OR REPLACE FUNCTION create_balances_of_wallets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO wallet_balances (wallet_id, asset_on_chain_id)
    SELECT n.id, a.id
    FROM new_rows n
    JOIN asset_on_chain a ON a.chain_id = n.chain_id AND a.is_active
    ORDER BY n.id, a.id
    ON CONFLICT (wallet_id, asset_on_chain_id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION create_balances_of_assets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO wallet_balances (wallet_id, asset_on_chain_id)
    SELECT w.id, n.id
    FROM new_rows n
    JOIN wallets w ON w.chain_id = n.chain_id
    WHERE n.is_active
    ORDER BY w.id, n.id
    ON CONFLICT (wallet_id, asset_on_chain_id) DO NOTHING;
    RETURN NULL;
END
$$;

-- Asking a statement which of its wallets changed so costs as much as all else that a flipped flag does. So a row says
-- that one did, which it does by its condition alone, and only then the statement is asked.
CREATE OR REPLACE FUNCTION note_changed_wallet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM set_config('flagpost.wallets_changed', 'yes', true);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION reread_changed_wallets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    changed uuid[] := ARRAY(
        SELECT n.id FROM (
            SELECT id, chain_id, address, derivation_index FROM new_rows
            EXCEPT
            SELECT id, chain_id, address, derivation_index FROM old_rows
        ) n
    );
BEGIN
    PERFORM set_config('flagpost.wallets_changed', 'no', true);
    IF cardinality(changed) > 0 THEN
        PERFORM make_balances_due(changed);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER balances_exist AFTER INSERT ON wallets
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION create_balances_of_wallets();

CREATE OR REPLACE TRIGGER balances_reread_noted BEFORE UPDATE ON wallets
FOR EACH ROW WHEN (
    OLD.chain_id <> NEW.chain_id OR OLD.address <> NEW.address
    OR OLD.derivation_index IS DISTINCT FROM NEW.derivation_index
) EXECUTE FUNCTION note_changed_wallet();

CREATE OR REPLACE TRIGGER balances_reread AFTER UPDATE ON wallets
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT WHEN (current_setting('flagpost.wallets_changed', true) = 'yes') EXECUTE FUNCTION reread_changed_wallets();

CREATE OR REPLACE TRIGGER balances_exist_insert AFTER INSERT ON asset_on_chain
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION create_balances_of_assets();

CREATE OR REPLACE TRIGGER balances_exist_update AFTER UPDATE ON asset_on_chain
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION create_balances_of_assets();
