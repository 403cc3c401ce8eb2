-- Raises the flag of each wallet: needs_gas of those in `gas`, needs_consolidation of the others.
UPDATE wallets
SET needs_gas = id = ANY (%(gas)s::uuid[]), needs_consolidation = id <> ALL (%(gas)s::uuid[])
WHERE id = ANY (%(wallets)s::uuid[])
