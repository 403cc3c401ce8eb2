-- Which wallets are flagged, since when, and which jobs and payments work on them.
-- psql -f sql/inspect/flags.sql
\set QUIET on
\pset linestyle unicode
\pset null '-'
\echo
\echo 'Flagged wallets by chain and wanted job'
SELECT c.name AS chain,
       w.wanted_job,
       count(*) AS wallets,
       count(*) FILTER (WHERE w.derivation_index IS NULL) AS "foreign",
       date_trunc('second', clock_timestamp() - min(w.wanted_since)) AS oldest
FROM wallets w
JOIN chains c ON c.id = w.chain_id
WHERE w.wanted_job IS NOT NULL
GROUP BY c.name, w.wanted_job
ORDER BY c.name, w.wanted_job;

\echo 'The 30 that have waited longest'
SELECT s.chain, s.address, s.owner, s.wanted_job,
       date_trunc('second', clock_timestamp() - s.wanted_since) AS waiting,
       s.balances, s.live_jobs, s.in_flight
FROM wallet_state s
WHERE s.wanted_job IS NOT NULL
ORDER BY s.wanted_since
LIMIT 30;

\echo 'Flags that differ from what the rule says (set or cleared by hand or by a job; the next change of the balance decides)'
SELECT c.name AS chain, w.address, w.needs_gas, r.needs_gas AS by_rule, w.needs_consolidation, r.needs_consolidation AS by_rule
FROM wallet_flag_rule r
JOIN wallets w ON w.id = r.wallet_id
JOIN chains c ON c.id = w.chain_id
WHERE w.needs_gas <> r.needs_gas OR w.needs_consolidation <> r.needs_consolidation
ORDER BY c.name, w.id
LIMIT 30;
