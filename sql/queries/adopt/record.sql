-- Who adopted, and what it came to.
SELECT write_admin_action('database.adopt', 'database', current_database(), %(details)s::jsonb, NULL);
