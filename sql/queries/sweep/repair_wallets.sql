-- Finds and does what triggers did not, for the next wallets behind an id (sql/functions/repairs.sql). up_to is where to go on,
-- NULL behind the last wallet.
SELECT up_to, balances_created, units_corrected, flags_judged, flag_times_set, jobs_completed
FROM repair_wallets(%(after)s, %(wallets)s)
