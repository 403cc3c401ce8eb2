-- Every wallet under its old id. A wallet with a job whose state is unknown is taken over without its derivation index: nothing is
-- paid from it or to it until a person has released it (release_adopted_wallets).
INSERT INTO wallets (id, user_id, chain_id, address, derivation_index, needs_gas, needs_consolidation, created_at, updated_at)
SELECT m.id, m.user_id, m.chain_id, m.address,
       CASE WHEN frozen.wallet IS NULL THEN m.derivation_index END,
       m.needs_gas, m.needs_consolidation, coalesce(m.created_at, now()), coalesce(m.updated_at, m.created_at, now())
FROM adopting m
LEFT JOIN (SELECT DISTINCT one.wallet::uuid AS wallet FROM adopting_jobs j, jsonb_object_keys(j.frozen) AS one (wallet)) frozen
    ON frozen.wallet = m.id
ORDER BY m.chain_id, m.id;
