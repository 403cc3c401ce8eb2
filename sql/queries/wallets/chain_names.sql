-- The chains there are, for an error message that names them.
SELECT name FROM chains ORDER BY name;
