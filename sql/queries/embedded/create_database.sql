-- The project's database in a fresh embedded server.
CREATE DATABASE flagpost;
