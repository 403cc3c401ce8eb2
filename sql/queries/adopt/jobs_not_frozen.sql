-- Jobs of unknown state that name a wallet of ours, of a type that this version does not have: they are not taken over, and no
-- other row could say why the wallet is frozen, nor release it.
SELECT coalesce(row ->> 'job_id', id::text) AS job_id, coalesce(job_type, 'none') AS job_type,
       coalesce(old_status, 'none') AS status, coalesce(row ->> 'wallet_address', row ->> 'wallet_id') AS wallet
FROM adopting_jobs
WHERE is_unknown AND NOT is_known AND frozen IS NOT NULL
ORDER BY row ->> 'created_at', id;
