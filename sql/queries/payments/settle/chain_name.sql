-- A chain's name, for what people are told.
SELECT name FROM chains WHERE id = %(chain_id)s;
