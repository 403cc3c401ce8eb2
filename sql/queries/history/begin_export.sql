-- What an export begins with: one snapshot for all of it, and as long as it takes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL statement_timeout = 0
