-- Settings under their keys; those that this version has are left as it has them.
INSERT INTO system_config (id, key, value, description, created_at, updated_at)
SELECT (old.row ->> 'id')::uuid, old.row ->> 'key', coalesce(old.row -> 'value', 'null'), old.row ->> 'description',
       coalesce((old.row ->> 'created_at')::timestamptz, now()), coalesce((old.row ->> 'updated_at')::timestamptz, now())
FROM (SELECT to_jsonb(t) AS row FROM adopted.system_config t) AS old
ON CONFLICT (key) DO NOTHING;
