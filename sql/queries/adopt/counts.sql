-- What the jobs became, and which of them need a person.
SELECT (SELECT count(*) FROM adopting_jobs) AS jobs,
       (SELECT count(*) FROM adopting_jobs WHERE is_known) AS taken,
       (SELECT count(*) FROM adopting_jobs WHERE is_known AND status = 'pending') AS pending,
       ARRAY(SELECT DISTINCT coalesce(job_type, 'none') FROM adopting_jobs WHERE NOT is_known ORDER BY 1) AS unknown_types,
       ARRAY(SELECT jsonb_build_object('job_id', coalesce(row ->> 'job_id', id::text), 'job_type', job_type,
                                       'status', old_status, 'wallet', row ->> 'wallet_address')
             FROM adopting_jobs WHERE is_unknown ORDER BY row ->> 'created_at', id) AS unknown,
       ARRAY(SELECT DISTINCT m.address FROM adopting_jobs j, jsonb_object_keys(j.frozen) AS one (wallet)
             JOIN adopting m ON m.id = one.wallet::uuid ORDER BY 1) AS frozen;
