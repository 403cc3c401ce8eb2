-- The chains of this version, which old networks are mapped to.
SELECT id, name, family FROM chains ORDER BY id;
