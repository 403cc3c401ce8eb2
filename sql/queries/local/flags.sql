-- The flags of these wallets at this moment, for the person who watches `flagpost up`.
SELECT address, needs_gas, needs_consolidation
FROM wallets
WHERE address = ANY (%(addresses)s::text[]) AND (needs_gas OR needs_consolidation)
ORDER BY id;
