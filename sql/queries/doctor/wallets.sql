-- The wallets of a chain as they are, the %(newest)s with the highest indices (NULL: all): how many, whose, how many were read, and
-- what policy `threshold` would send them (`gas_amount` to each own wallet below `gas_execute_below`, by the last balance read).
SELECT count(*) AS wallets,
       count(*) FILTER (WHERE w.derivation_index IS NULL) AS foreign_wallets,
       count(*) FILTER (WHERE b.last_checked IS NULL) AS never_read,
       count(*) FILTER (WHERE b.last_error IS NOT NULL) AS with_error,
       (array_agg(w.address) FILTER (WHERE b.last_error IS NOT NULL))[1] AS one_with_error,
       (array_agg(b.last_error) FILTER (WHERE b.last_error IS NOT NULL))[1] AS one_error,
       count(*) FILTER (WHERE w.needs_gas) AS flagged_gas,
       count(*) FILTER (WHERE w.needs_consolidation) AS flagged_consolidation,
       count(*) FILTER (WHERE w.derivation_index IS NOT NULL AND b.raw < c.gas_execute_below) AS below_threshold,
       coalesce(sum(c.gas_amount) FILTER (WHERE w.derivation_index IS NOT NULL AND b.raw < c.gas_execute_below), 0)
           AS threshold_would_send
FROM (SELECT * FROM wallets WHERE chain_id = %(chain_id)s ORDER BY derivation_index DESC LIMIT %(newest)s::bigint) w
JOIN chains c ON c.id = w.chain_id
LEFT JOIN LATERAL (
    SELECT wb.last_checked, wb.last_error, wb.on_chain_balance_raw::numeric AS raw
    FROM wallet_balances wb
    JOIN asset_on_chain a ON a.id = wb.asset_on_chain_id AND a.contract_address IS NULL
    WHERE wb.wallet_id = w.id
    OFFSET 0
) b ON true;
