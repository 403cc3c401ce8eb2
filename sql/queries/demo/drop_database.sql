-- The demo's own database goes, and whoever is still connected to it.
DROP DATABASE IF EXISTS {name} WITH (FORCE);
