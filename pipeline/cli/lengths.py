"""Lengths of time as people type them."""

import re
from datetime import timedelta

from pipeline.cli.output import usage

_LENGTH = re.compile(r"([0-9]{1,9})(min|[smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def length(text: str, option: str) -> timedelta:
    """``30s``, ``15min``, ``2h``, ``7d``. Raises CommandError naming ``option`` for anything else."""
    match = _LENGTH.fullmatch(text.strip().lower())
    if match is None:
        raise usage(f"{option} {text!r} is not a length of time", "write 30s, 15min, 2h or 7d")
    try:
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    except OverflowError:
        raise usage(f"{option} {text!r} is too long", "write 30s, 15min, 2h or 7d") from None
