-- Unlocks what the sync's claim has locked, and lets it rest again.
UPDATE wallet_balances SET processing_status = 'idle', locked_by = NULL, locked_until = NULL,
                           next_check_at = now() + interval '1 hour'
WHERE id = ANY (%(ids)s)
