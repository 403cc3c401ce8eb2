-- A wallet can be added through user_wallets: network defaults to tron, flags to false; balances given are kept.

CREATE OR REPLACE FUNCTION insert_user_wallet() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    chain chains;
BEGIN
    NEW.network := coalesce(NEW.network, 'tron');
    SELECT * INTO chain FROM chains c WHERE c.name = NEW.network;
    IF chain.id IS NULL THEN
        RAISE EXCEPTION 'there is no network "%"', NEW.network USING
            ERRCODE = 'foreign_key_violation',
            HINT = format('Known networks: %s.',
                          (SELECT coalesce(string_agg(c.name, ', ' ORDER BY c.name), 'none yet') FROM chains c));
    END IF;

    INSERT INTO wallets (user_id, chain_id, address, derivation_index, needs_gas, needs_consolidation)
    VALUES (NEW.user_id, chain.id, NEW.address, NEW.derivation_index,
            coalesce(NEW.needs_gas, false), coalesce(NEW.needs_consolidation, false))
    RETURNING id, needs_gas, needs_consolidation, created_at, updated_at
    INTO NEW.id, NEW.needs_gas, NEW.needs_consolidation, NEW.created_at, NEW.updated_at;

    IF coalesce(NEW.on_chain_balance, NEW.balance) IS NOT NULL THEN
        UPDATE wallet_balances b SET on_chain_balance_human = coalesce(NEW.on_chain_balance, NEW.balance)
        WHERE b.wallet_id = NEW.id AND b.asset_on_chain_id = (
            SELECT a.id FROM asset_on_chain a
            WHERE a.chain_id = chain.id AND a.contract_address IS NOT NULL AND a.is_active
            ORDER BY a.id LIMIT 1);
    END IF;
    IF NEW.trx_balance IS NOT NULL THEN
        UPDATE wallet_balances b SET on_chain_balance_human = NEW.trx_balance
        WHERE b.wallet_id = NEW.id AND b.asset_on_chain_id = (
            SELECT a.id FROM asset_on_chain a WHERE a.chain_id = chain.id AND a.contract_address IS NULL);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER user_wallets_insert INSTEAD OF INSERT ON user_wallets
FOR EACH ROW EXECUTE FUNCTION insert_user_wallet();
