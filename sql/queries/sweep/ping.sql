-- Whether the session that holds the seat still lives.
SELECT true
