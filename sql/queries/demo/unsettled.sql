-- What still moves, in one row. All zero: nothing is left to wait for.
SELECT (SELECT count(*) FROM job_logs WHERE completed_at IS NULL) AS live_jobs,
       (SELECT count(*) FROM transfers WHERE state NOT IN ('final', 'reverted', 'rejected')) AS live_transfers,
       (SELECT count(*) FROM wallets WHERE needs_gas OR needs_consolidation) AS flagged,
       (SELECT count(*) FROM wallet_balances WHERE recheck) AS to_recheck;
