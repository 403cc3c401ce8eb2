"""Text that somebody else wrote, made safe to show and to store.

A control character moves a terminal's cursor or begins a line of its own in a log; Postgres stores neither NUL nor half
a surrogate pair. Whatever enters as text from outside passes ``printable`` once, where it enters.
"""

import reprlib
from typing import Any

LIMIT = 300
"""Characters of a foreign text that are kept."""
LONGEST_REASON = 4_000
"""Characters of an error: that of a chain names each of its nodes."""

_brief = reprlib.Repr()
_brief.maxlevel = 2
_brief.maxdict = _brief.maxlist = _brief.maxtuple = _brief.maxset = 3
_brief.maxstring = _brief.maxother = _brief.maxlong = 60


def printable(text: str, limit: int | None = LIMIT) -> str:
    """``text`` on one line: every character that is not printable is shown as its escape (``\\x1b``, ``\\n``,
    ``\\ud800``), and what is longer than ``limit`` characters ends in an ellipsis. None: as long as it is.

    What was printable before stays as it is, so that a second pass changes nothing.
    """
    if limit is not None and len(text) > limit:
        # An escape is up to 10 characters, and the rest is not looked at: the text may have 64 MiB.
        text, cut = text[:limit], True
    else:
        cut = False
    if not text.isprintable():
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
        cut = cut or (limit is not None and len(text) > limit)
    return text[: limit - 1] + "…" if cut and limit is not None else text


def reason(error: BaseException) -> str:
    """An error in one line, safe to show and to store, whoever wrote parts of it."""
    return printable(" ".join(str(error).split()), LONGEST_REASON) or type(error).__name__


def shown(value: Any) -> str:
    """A JSON value of somebody else in a few dozen characters, however large or deep it is."""
    return printable(_brief.repr(value), 120)
