-- What operators do to wallets by hand.
--
-- Guarantees: each writes admin_actions for what it changed; all or nothing. `admin` is who does it (auth.users.id), NULL where only
-- the database knows.

-- Watches more addresses on a chain; those that are watched already are left as they are and not returned. Addresses are taken as
-- they are: whoever calls has checked them, and knows which index of the mnemonic derives each (NULL: foreign, never paid).
-- The three arrays are of one length. Raises for an unknown chain or user, and for an index that another wallet has.
CREATE OR REPLACE FUNCTION add_wallets(
    chain text, addresses text[], derivation_indices bigint[] DEFAULT NULL, user_ids uuid[] DEFAULT NULL, admin uuid DEFAULT NULL
) RETURNS TABLE (address text, derivation_index bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    on_chain chains := chain_named(chain);
    added jsonb;
    taken record;
BEGIN
    BEGIN
        WITH new AS (
            INSERT INTO wallets (chain_id, address, derivation_index, user_id)
            SELECT on_chain.id, given.address, given.derivation_index, given.user_id
            FROM unnest(addresses, derivation_indices, user_ids) AS given (address, derivation_index, user_id)
            ON CONFLICT (chain_id, address) DO NOTHING
            RETURNING address, derivation_index
        )
        SELECT coalesce(jsonb_agg(jsonb_build_object('address', new.address, 'index', new.derivation_index)), '[]')
        INTO added FROM new;
    EXCEPTION
        WHEN unique_violation THEN
            SELECT w.id, w.address, w.derivation_index INTO taken
            FROM unnest(addresses, derivation_indices) AS given (address, derivation_index)
            JOIN wallets w ON w.chain_id = on_chain.id AND w.derivation_index = given.derivation_index
            WHERE w.address <> given.address
            LIMIT 1;
            IF NOT FOUND THEN
                RAISE;
            END IF;
            RAISE EXCEPTION 'index % already belongs to wallet % with address %', taken.derivation_index, taken.id, taken.address
                USING ERRCODE = 'FP018',
                      HINT = 'That row was changed by hand: set its derivation_index to NULL, or its address back.';
        WHEN foreign_key_violation THEN
            RAISE EXCEPTION 'no such user: %', (
                SELECT string_agg(DISTINCT given.id::text, ', ') FROM unnest(user_ids) AS given (id)
                WHERE NOT EXISTS (SELECT FROM auth.users u WHERE u.id = given.id)
            ) USING ERRCODE = 'no_data_found', HINT = 'A user is an id of the table auth.users.';
    END;

    IF added <> '[]' THEN
        PERFORM write_admin_action(
            'wallets.add',
            CASE jsonb_array_length(added) WHEN 1 THEN 'wallet' ELSE 'chain' END,
            CASE jsonb_array_length(added) WHEN 1 THEN format('%s/%s', on_chain.name, added -> 0 ->> 'address') ELSE on_chain.name END,
            jsonb_build_object(
                'added', jsonb_array_length(added),
                'foreign', jsonb_array_length(jsonb_path_query_array(added, '$[*] ? (@.index == null)')),
                'wallets', jsonb_path_query_array(added, '$[0 to 99]')),
            admin);
    END IF;
    RETURN QUERY
    SELECT one.wallet ->> 'address', (one.wallet ->> 'index')::bigint
    FROM jsonb_array_elements(added) WITH ORDINALITY AS one (wallet, place) ORDER BY one.place;
END
$$;
REVOKE ALL ON FUNCTION add_wallets(text, text[], bigint[], uuid[], uuid) FROM PUBLIC;
COMMENT ON FUNCTION add_wallets(text, text[], bigint[], uuid[], uuid) IS
    'Watches more addresses: SELECT * FROM add_wallets(''tron'', ARRAY[''T…''], ARRAY[10])';

-- Raises or clears flags of a wallet; NULL leaves one as it is. `chain` is needed where the address is watched on several. Returns
-- the flags as they are now. Raises for an unknown address, and for one that is watched on several chains.
CREATE OR REPLACE FUNCTION set_wallet_flags(
    address text, needs_gas boolean DEFAULT NULL, needs_consolidation boolean DEFAULT NULL, chain text DEFAULT NULL,
    admin uuid DEFAULT NULL
) RETURNS TABLE (chain_name text, gas boolean, consolidation boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found record;
    chains_of text[];
BEGIN
    SELECT coalesce(array_agg(c.name ORDER BY c.name), '{}') INTO chains_of
    FROM wallets w JOIN chains c ON c.id = w.chain_id
    WHERE w.address = set_wallet_flags.address AND (chain IS NULL OR c.name = chain);
    IF cardinality(chains_of) = 0 THEN
        RAISE EXCEPTION 'no wallet % is watched%', address, coalesce(' on ' || chain, '') USING
            ERRCODE = 'no_data_found', HINT = 'See: flagpost wallets list.';
    ELSIF cardinality(chains_of) > 1 THEN
        RAISE EXCEPTION 'wallet % is watched on %: name one of these chains', address, array_to_string(chains_of, ', ') USING
            ERRCODE = 'FP018';
    END IF;

    SELECT w.id, w.needs_gas, w.needs_consolidation INTO found
    FROM wallets w JOIN chains c ON c.id = w.chain_id
    WHERE w.address = set_wallet_flags.address AND c.name = chains_of[1]
    FOR UPDATE OF w;
    needs_gas := coalesce(needs_gas, found.needs_gas);
    needs_consolidation := coalesce(needs_consolidation, found.needs_consolidation);
    IF (needs_gas, needs_consolidation) IS DISTINCT FROM (found.needs_gas, found.needs_consolidation) THEN
        UPDATE wallets w
        SET needs_gas = set_wallet_flags.needs_gas, needs_consolidation = set_wallet_flags.needs_consolidation
        WHERE w.id = found.id;
        PERFORM write_admin_action('wallet.set_flags', 'wallet', format('%s/%s', chains_of[1], address), jsonb_build_object(
            'id', found.id,
            'before', jsonb_build_object('needs_gas', found.needs_gas, 'needs_consolidation', found.needs_consolidation),
            'after', jsonb_build_object('needs_gas', needs_gas, 'needs_consolidation', needs_consolidation)), admin);
    END IF;
    RETURN QUERY SELECT chains_of[1], needs_gas, needs_consolidation;
END
$$;
REVOKE ALL ON FUNCTION set_wallet_flags(text, boolean, boolean, text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION set_wallet_flags(text, boolean, boolean, text, uuid) IS
    'Raises or clears flags of a wallet: SELECT * FROM set_wallet_flags(''T…'', needs_consolidation => true)';
