-- Unlocks a claim whose reading failed as a whole (no node answered, the process stops). The balances
-- are due again after %(retry_seconds)s; no error is counted against them, but %(error)s is shown.
--
-- Guarantees: only what is still locked by that claim.
UPDATE wallet_balances SET
    processing_status = 'idle',
    locked_by = NULL,
    locked_until = NULL,
    next_check_at = least(CASE WHEN next_check_at < locked_until THEN next_check_at END,
                          now() + make_interval(secs => %(retry_seconds)s)),
    last_error = coalesce(%(error)s, last_error),
    last_error_at = CASE WHEN %(error)s::text IS NULL THEN last_error_at ELSE now() END
WHERE id = ANY (%(ids)s::uuid[]) AND locked_by = %(lock)s
