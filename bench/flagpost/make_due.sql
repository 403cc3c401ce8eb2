-- Makes the balances of some wallets due for the sync.
UPDATE wallet_balances SET next_check_at = now() - interval '1 second' WHERE wallet_id BETWEEN %(first)s AND %(last)s
