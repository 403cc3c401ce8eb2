-- Whether anything waits or runs.
SELECT EXISTS (SELECT FROM pgboss.job WHERE name = 'bench' AND state < 'completed')
