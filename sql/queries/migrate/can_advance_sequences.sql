-- Whether this schema knows how to move sequences past their rows.
SELECT to_regprocedure('public.advance_sequences()') IS NOT NULL;
