-- Whether the database takes writes of this session, and why it does not; and in which encoding it keeps text.
SELECT pg_is_in_recovery() AS in_recovery,
       current_setting('default_transaction_read_only') = 'on' AS closed,
       current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('server_encoding') AS encoding,
       current_database() AS database
