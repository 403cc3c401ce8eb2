-- What is spent on gas, on a chain, is changed by one after the other, until commit.
SELECT lock_gas(%(chain_id)s);
