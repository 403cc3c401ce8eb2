-- Senders that pay nothing, by chain and reason; every active chain has a row of each.
SELECT c.name AS chain, why.name AS why,
       count(s.sender) FILTER (
           WHERE CASE why.name WHEN 'frozen' THEN s.frozen IS NOT NULL
                               WHEN 'stuck' THEN s.frozen IS NULL AND s.stuck IS NOT NULL
                               ELSE s.frozen IS NULL AND s.stuck IS NULL AND s.unknown_below IS NOT NULL END) AS value_senders
FROM chains c
CROSS JOIN (VALUES ('frozen'), ('stuck'), ('reconciling')) AS why (name)
LEFT JOIN senders s ON s.chain_id = c.id AND (s.frozen IS NOT NULL OR s.stuck IS NOT NULL OR s.unknown_below IS NOT NULL)
WHERE c.is_active
GROUP BY c.name, why.name
