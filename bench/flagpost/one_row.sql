-- The least that can be committed.
INSERT INTO hops VALUES (1)
