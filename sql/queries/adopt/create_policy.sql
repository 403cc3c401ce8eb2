-- A policy of an old table on the table that has its rows now.
CREATE POLICY {name} ON public.{table} AS {kind} FOR {command} TO {roles} {using} {check};
