-- Whether this schema has a say in who may connect.
SELECT to_regprocedure('public.restrict_connect()') IS NOT NULL;
