-- Whether a session is as its start-up message said it was to be: whom it acts as, and whether any of these settings is another one.
-- Settings that this server does not know are left out. A tenth of what asking pg_settings takes (session/settings).
SELECT current_user::pg_catalog.text,
       EXISTS (
           SELECT FROM ROWS FROM (
               pg_catalog.unnest(%(names)s::pg_catalog.text[]), pg_catalog.unnest(%(values)s::pg_catalog.text[])
           ) AS wanted (name, value)
           WHERE pg_catalog.current_setting(wanted.name, true) OPERATOR(pg_catalog.<>) wanted.value)
