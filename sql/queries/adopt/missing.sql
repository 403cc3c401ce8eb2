-- Rows of the old tables that are not in the new ones, by id: none, or the adoption is undone.
SELECT (SELECT count(*) FROM adopting m WHERE NOT EXISTS (
            SELECT FROM wallets w WHERE w.id = m.id AND w.chain_id = m.chain_id AND w.address = m.address
            AND (w.needs_gas, w.needs_consolidation) = (m.needs_gas, m.needs_consolidation))) AS wallets,
       (SELECT count(*) FROM adopting_jobs j WHERE j.is_known AND NOT EXISTS (
            SELECT FROM job_logs l WHERE l.id = j.id AND l.status = j.status)) AS jobs;
