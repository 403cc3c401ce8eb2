-- Raises or clears flags of a wallet (NULL: as it is); the flags as they are now.
SELECT chain_name, gas, consolidation
FROM set_wallet_flags(%(address)s, %(needs_gas)s::boolean, %(needs_consolidation)s::boolean, %(chain)s::text, %(admin)s);
