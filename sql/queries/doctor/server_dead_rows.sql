-- Tables of ours with more dead rows than live ones: vacuum does not get through.
SELECT s.relname AS "table", s.n_dead_tup AS dead, s.n_live_tup AS live, ARRAY[s.relname] AS ids
FROM pg_stat_user_tables s
WHERE s.schemaname = 'public' AND s.relname IN ('wallets', 'wallet_balances', 'job_logs', 'transfers', 'chain_transactions')
  AND s.n_dead_tup > greatest(%(dead_rows)s, s.n_live_tup)
ORDER BY s.relname
