-- Settings of one question, for its transaction: how long it may take; and no table is scanned that has an index, unless every
-- wallet is to be compared. The planner would rather scan all balances than search for those of the newest wallets.
SELECT set_config('statement_timeout', %(milliseconds)s, true), set_config('enable_seqscan', %(scans)s, true),
       set_config('jit', 'off', true)
