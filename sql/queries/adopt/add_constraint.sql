-- The same foreign key, with its actions, to the table that has the rows now.
ALTER TABLE {table} ADD CONSTRAINT {name} {definition};
