"""The project as a contestant: its own processes and statements, with a handler that does nothing."""
