-- Have the next number of these sequences written ahead: run in the transaction that made them, when nobody else sees them.
--
-- Where wal_level is minimal, what a transaction creates is logged at its commit as it stands. A sequence that numbered rows in
-- between stands there with 32 numbers that count as logged: after a crash before the next checkpoint they would be drawn
-- again, and inserts fail. setval takes that count back to 0.
SELECT setval(format('public.%%I', s.sequencename)::regclass, s.last_value)
FROM pg_sequences s
WHERE s.schemaname = 'public' AND s.sequencename = ANY (%(names)s::text[]) AND s.last_value IS NOT NULL
