-- Who did what before. A person who is no user any more stays in details.
INSERT INTO admin_actions (id, admin_user_id, action_type, target_id, target_type, details, created_at)
SELECT (old.row ->> 'id')::uuid, u.id, coalesce(old.row ->> 'action_type', 'unknown'), old.row ->> 'target_id', old.row ->> 'target_type',
       CASE jsonb_typeof(old.row -> 'details') WHEN 'object' THEN old.row -> 'details'
            ELSE jsonb_strip_nulls(jsonb_build_object('details', nullif(old.row -> 'details', 'null'))) END
           || CASE WHEN u.id IS NULL AND old.row ->> 'admin_user_id' IS NOT NULL
                   THEN jsonb_build_object('adopted', jsonb_build_object('admin_user_id', old.row ->> 'admin_user_id')) ELSE '{}' END,
       coalesce((old.row ->> 'created_at')::timestamptz, now())
FROM (SELECT to_jsonb(t) AS row FROM adopted.admin_actions t) AS old
LEFT JOIN auth.users u ON u.id::text = old.row ->> 'admin_user_id';
