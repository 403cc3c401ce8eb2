-- Who has rights on our objects and is neither the owner nor one of our roles. Reading alone is told apart: row level security
-- shows them no row.
SELECT grantee, bool_and(privilege = 'SELECT') AS reads_only,
       array_agg(DISTINCT privilege ORDER BY privilege) AS privileges,
       count(DISTINCT object) AS objects, min(object) AS example
FROM rights_of_others()
GROUP BY grantee
ORDER BY grantee;
