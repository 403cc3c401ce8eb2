"""The bundled Postgres, run as a child process."""
