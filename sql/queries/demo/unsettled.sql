-- What still moves, in one row. All zero: nothing is left to wait for.
SELECT (SELECT count(*) FROM job_logs WHERE status IN ('pending', 'active', 'retrying')) AS live_jobs,
       (SELECT count(*) FROM transfers WHERE state NOT IN ('final', 'reverted', 'rejected')) AS live_transfers,
       (SELECT count(*) FROM wallets WHERE needs_consolidation) AS flagged,
       (SELECT count(*) FROM wallets WHERE needs_gas) AS flagged_gas,
       (SELECT count(*) FROM transfers WHERE kind = 'gas' AND state = 'final') AS gas_topups,
       (SELECT count(*) FROM transfers WHERE kind = 'consolidation' AND state = 'final') AS consolidations;
