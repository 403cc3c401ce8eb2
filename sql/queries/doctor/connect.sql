-- Whether everybody who has a login on the server may connect to this database.
SELECT d.datname AS database,
       EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) acl
               WHERE acl.grantee = 0 AND acl.privilege_type = 'CONNECT') AS is_open
FROM pg_database d WHERE d.datname = current_database();
