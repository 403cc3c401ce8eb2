-- Takes CONNECT on this database from PUBLIC, where that is not done yet; who keeps it by name.
SELECT restricted, granted FROM restrict_connect();
