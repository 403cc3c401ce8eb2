"""Secrets of this process that have no form to be known by: registered where they are read, blanked in every log
line."""

SHORTEST = 8
"""Characters. What is shorter is a part of too many words."""

registered: set[str] = set()


def register_secret(secret: str) -> None:
    """From now on no line contains ``secret``: a private key, an API key, a password."""
    if len(secret) >= SHORTEST:
        registered.add(secret)
