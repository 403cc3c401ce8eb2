"""How long a test waits for what it is sure to come."""

PATIENCE = 120.0
"""Seconds until a test gives up: longer than a job waits whose node gave a false answer, so that bad luck with a node
is no failure. Nothing waits nearly as long when it works, on a machine with other work to do too."""
