-- Sequences that are behind the rows they number: the next inserts fail.
SELECT sequence_name AS sequence, table_name AS "table", column_name AS "column", last_drawn, highest, ARRAY[sequence_name] AS ids
FROM sequences_behind()
