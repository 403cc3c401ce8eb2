-- For who listens to wallet_flags to tell a person: no bell rests, not in a storm either, until this session ends.
SELECT hear_every_bell()
