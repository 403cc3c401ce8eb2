-- Which of these are no users.
SELECT given.id FROM unnest(%(ids)s::uuid[]) AS given (id)
WHERE NOT EXISTS (SELECT FROM auth.users u WHERE u.id = given.id)
ORDER BY given.id;
