-- Settings under which a crash of the server loses commits: a payment that is out would be forgotten, and made again.
SELECT s.name AS setting, s.setting AS value,
       CASE WHEN s.name = 'fsync' THEN 'fail' ELSE 'warn' END AS level,
       CASE WHEN s.name = 'fsync' THEN 'a crash of the machine loses payments that were signed'
            ELSE 'a crash of the machine tears pages, where the file system does not prevent it' END AS why
FROM pg_settings s
WHERE s.name IN ('fsync', 'full_page_writes') AND s.setting = 'off'
