-- A database of the demo's own; its name is quoted by the caller as an identifier.
CREATE DATABASE {name};
