"""How long a test waits for what it is sure to come."""

PATIENCE = 60.0
"""Seconds until a test gives up. Nothing waits nearly as long when it works, on a machine with other work to do too."""
