-- What live processes say is wrong, the same words once: the first names of who says it, and how many more do.
SELECT w.last_error, (array_agg(w.name ORDER BY w.name))[:3] AS names, array_agg(w.id ORDER BY w.name) AS ids,
       CASE WHEN count(*) > 3 THEN ' and ' || (count(*) - 3) || ' more' ELSE '' END AS more
FROM worker_registry w
WHERE w.status IN ('running', 'paused') AND w.last_error <> '' AND w.last_heartbeat > now() - interval '60 seconds'
GROUP BY w.last_error
ORDER BY min(w.name)
LIMIT 20
