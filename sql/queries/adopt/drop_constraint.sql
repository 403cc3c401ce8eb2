-- A foreign key that is re-pointed, or one of a table kept aside.
ALTER TABLE {table} DROP CONSTRAINT {name};
