-- Which of these users do not exist, so that an import can name the line instead of a foreign key.
SELECT given.id
FROM unnest(%(user_ids)s::uuid[]) AS given (id)
WHERE NOT EXISTS (SELECT FROM auth.users u WHERE u.id = given.id);
