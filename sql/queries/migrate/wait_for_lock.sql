-- As lock.sql, once the other migrator has ended; a migration of large tables takes minutes.
SET LOCAL lock_timeout = '10min';
LOCK TABLE public.schema_migrations IN SHARE UPDATE EXCLUSIVE MODE;
