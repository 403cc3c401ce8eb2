-- The types of worker and the role that each acts as, as data: a role registers, and leads, as nothing else
-- (sql/functions/workers.sql, sql/functions/leaderships.sql).
--
-- Guarantees: after every migrate the table holds exactly these rows.
WITH known (type, role) AS (VALUES
    ('sync', 'pipeline_sync'::name),
    ('deposits', 'pipeline_deposits'),
    ('gas-topup', 'pipeline_executor'),
    ('consolidation', 'pipeline_executor'),
    ('sweep', 'pipeline_executor'),
    ('confirmations', 'pipeline_confirmations'),
    ('web', 'pipeline_web'),
    ('host', 'pipeline_agent')
), gone AS (
    DELETE FROM worker_types t WHERE t.type NOT IN (SELECT k.type FROM known k)
)
INSERT INTO worker_types AS t (type, role)
SELECT type, role FROM known
ON CONFLICT (type) DO UPDATE SET role = excluded.role
WHERE t.role <> excluded.role;
