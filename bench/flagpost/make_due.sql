-- Makes the balances of some wallets due for the sync.
UPDATE wallet_balances SET next_check_at = now() - interval '1 second' 
WHERE wallet_id BETWEEN ('00000000-0000-7000-8000-' || lpad(to_hex(%(first)s::integer), 12, '0'))::uuid
                    AND ('00000000-0000-7000-8000-' || lpad(to_hex(%(last)s::integer), 12, '0'))::uuid
