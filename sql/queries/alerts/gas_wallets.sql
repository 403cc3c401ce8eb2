-- Gas wallets that are low: top-ups wait because one is short, which is critical; or it held less than %(gas_days)s times the top-ups of
-- 24 hours, or less than one, when a top-up was last decided, within a day (worker_registry.stats of gas-topup; only a node knows
-- what it holds now). At most 10,000 waiting jobs are read.
SELECT c.name AS chain, coalesce(c.gas_address, held.address, 'of the mnemonic') AS gas_wallet, n.symbol AS coin, short.jobs,
       CASE WHEN short.jobs > 0 THEN 'fail' ELSE 'warn' END AS level,
       CASE WHEN short.jobs > 0 THEN format('%%s top-ups wait; one says: %%s', short.jobs, short.example)
            ELSE format('it held %%s %%s %%s UTC, and top-ups and their fees took %%s %%s in 24 hours', trim_scale(held.amount * n.coin),
                        n.symbol, date_trunc('second', held.read_at AT TIME ZONE 'UTC'), trim_scale(spent.day * n.coin), n.symbol)
       END AS what
FROM chains c
JOIN (SELECT a.id, a.chain_id, a.symbol, trim_scale(1 / (10::numeric ^ a.decimals)) AS coin
      FROM asset_on_chain a WHERE a.contract_address IS NULL) n ON n.chain_id = c.id
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, max(j.error_message) AS example
    FROM (SELECT l.error_message FROM job_logs l
          WHERE l.job_type = 'gas-topup' AND l.chain_id = c.id AND l.completed_at IS NULL AND l.queued AND NOT l.awaiting_chain
            AND l.status IN ('pending', 'retrying')
          LIMIT 10000) j
    WHERE j.error_message LIKE '%%gas wallet%% to give, this top-up needs %%'
) short
LEFT JOIN LATERAL (
    SELECT g.address, g.raw AS amount, g.read_at
    FROM worker_registry w
    CROSS JOIN LATERAL jsonb_to_record(CASE jsonb_typeof(w.stats #> ARRAY['gas_wallets', c.name])
                                       WHEN 'object' THEN w.stats #> ARRAY['gas_wallets', c.name] ELSE '{}' END)
        AS g (address text, raw numeric, read_at timestamptz)
    WHERE w.type = 'gas-topup' AND w.last_heartbeat > now() - interval '1 day' AND g.read_at > now() - interval '1 day'
    ORDER BY g.read_at DESC
    LIMIT 1
) held ON true
CROSS JOIN LATERAL gas_spent(c.id) spent
WHERE c.is_active AND (short.jobs > 0 OR held.amount < greatest(spent.day * %(gas_days)s, c.gas_amount))
ORDER BY c.name
