-- For who listens to wallet_flags to tell a person: every change of flags notifies, under load too, until this session ends.
SELECT require_notify()
