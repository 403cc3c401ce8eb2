-- For who listens to wallet_flags to tell a person: every change of flags notifies, in a storm too, until this session ends.
SELECT require_notify()
