"""How long a test waits for what it is sure to come."""

PATIENCE = 120.0
"""Seconds until a test gives up: longer than the longest pause of a job whose node gave a false answer, so that bad luck
with a node is no failure. Nothing waits nearly as long when it works, on a machine with other work to do too."""
