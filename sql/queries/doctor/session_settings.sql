-- Settings given to a role or a database that sessions of ours obey, because only a superuser may set them otherwise or because they
-- are meant to be obeyed, and under which nothing works by itself. Of this database or of all; of everybody, of who owns the
-- database, and of who may take a role of ours.
SELECT coalesce('role ' || r.rolname, 'everybody') || coalesce(' in database ' || d.datname, '') AS who,
       split_part(config.entry, '=', 1) AS name,
       substr(config.entry, strpos(config.entry, '=') + 1) AS value,
       CASE WHEN r.rolname IS NULL AND d.datname IS NULL THEN 'ALTER ROLE ALL'
            WHEN r.rolname IS NULL THEN 'ALTER DATABASE ' || quote_ident(d.datname)
            ELSE 'ALTER ROLE ' || quote_ident(r.rolname) || coalesce(' IN DATABASE ' || quote_ident(d.datname), '') END
           || ' RESET ' || split_part(config.entry, '=', 1) AS cure
FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase
CROSS JOIN LATERAL unnest(s.setconfig) AS config (entry)
WHERE (s.setdatabase = 0 OR d.datname = current_database())
  AND (s.setrole = 0
       OR s.setrole = (SELECT own.datdba FROM pg_database own WHERE own.datname = current_database())
       OR EXISTS (SELECT FROM pg_roles ours
                  WHERE ours.rolname LIKE 'pipeline\_%%' AND NOT r.rolsuper AND pg_has_role(s.setrole, ours.oid, 'MEMBER')))
  AND ((split_part(config.entry, '=', 1) = 'session_replication_role' AND config.entry LIKE '%%=replica')
       OR (split_part(config.entry, '=', 1) = 'default_transaction_read_only'
           AND substr(config.entry, strpos(config.entry, '=') + 1) IN ('on', 'true', 'yes', '1')))
ORDER BY 1, 2
