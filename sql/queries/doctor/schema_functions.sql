-- Functions in public with their text, for the comparison with the files of this version.
SELECT p.proname AS name, p.prosrc AS body, p.prosecdef AS definer, p.proconfig AS settings
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'
  AND p.prolang IN (SELECT l.oid FROM pg_language l WHERE l.lanname IN ('sql', 'plpgsql'))
ORDER BY p.proname
