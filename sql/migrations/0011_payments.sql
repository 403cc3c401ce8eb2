-- Payments in batches: what their guards did for each row they do once a statement.
--
-- Guarantees: nothing new, and none of the old ones goes. The chain of a transfer, a signing request and a transaction is that of
-- its bundle (their foreign keys to bundles name it), and a bundle's chain exists.

-- Where this is the first migration of a database, there are none yet.
DROP FUNCTION IF EXISTS count_gas(transfers);
DROP FUNCTION IF EXISTS recount_gas(integer, timestamptz, integer, numeric, numeric);
DROP FUNCTION IF EXISTS counted_fees(transfers);
DROP FUNCTION IF EXISTS check_spending(transfers, timestamptz, numeric, numeric);

ALTER TABLE transfers DROP CONSTRAINT transfers_chain_id_fkey;
ALTER TABLE signing_requests DROP CONSTRAINT signing_requests_chain_id_fkey;
ALTER TABLE chain_transactions DROP CONSTRAINT chain_transactions_chain_id_fkey;
