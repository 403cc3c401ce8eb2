-- The types of worker that there are, and the hosts that a process ran on or an agent kept a slot for, within what is remembered.
SELECT ARRAY(SELECT t.type FROM worker_types t ORDER BY t.type) AS types,
       ARRAY(SELECT w.host FROM worker_registry w WHERE w.host IS NOT NULL
             UNION SELECT w.managed_by FROM worker_registry w WHERE w.managed_by IS NOT NULL
             ORDER BY 1) AS hosts
