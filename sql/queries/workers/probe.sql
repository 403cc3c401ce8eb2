-- Whether the schema is there as far as a worker needs it to start: what it calls first, and what the newest version brought.
SELECT to_regprocedure('public.worker_orders(uuid)') IS NOT NULL
   AND to_regprocedure('public.advance_sequences()') IS NOT NULL
   AND EXISTS (SELECT FROM pg_roles WHERE rolname = %(role)s)
