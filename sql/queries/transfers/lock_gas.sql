-- Top-ups of a chain are asked for one after the other, until commit.
SELECT lock_gas(%(chain_id)s);
