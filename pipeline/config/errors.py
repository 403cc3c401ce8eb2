"""What can be wrong with a configuration."""

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """A key that does not exist, or a value that it cannot take; the message names the key and the remedy."""


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """The error for ``key``, with the nearest names that exist."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    # The last part alone catches "interval_seconds" for "sweep.interval_seconds".
    near = near or [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    hint = f"did you mean {' or '.join(near)}?" if near else "see: flagpost config show"
    return ConfigError(f"there is no setting {key!r}; {hint}")
