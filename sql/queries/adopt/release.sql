-- Wallets whose unknown jobs a person has settled; the wallets that were released are returned.
SELECT address, derivation_index FROM release_adopted_wallets(%(addresses)s::text[], NULL);
