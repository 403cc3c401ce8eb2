-- Whether an address is that of a wallet now: jobs may name one that it had before.
SELECT EXISTS (SELECT FROM wallets w WHERE w.address = %(wallet)s) AS is_wallet;
