-- One migrator at a time, until the transaction ends. A mode that conflicts with itself and with nobody who reads or writes, and
-- that only an owner can take. Raises 55P03 where another one migrates.
LOCK TABLE public.schema_migrations IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
