-- Whom this connection acts as.
SELECT current_user::text;
