"""Values that Postgres stores and Python cannot: read as what comes nearest, and shown as they stand in the table.

A row is legal although its time lies in the year 20000 or before Christ, and a JSON number may have 131,072 digits. The
driver raises for the first, and Python for the second; one such row, typed by hand, would end every process and command
that reads it.
"""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Self

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.types.json import set_json_loads

LONGEST_INTEGER = 4300
"""Digits that Python turns into an integer (``sys.set_int_max_str_digits``): the time grows with their square."""
EXACT_DIGITS = 16
"""Characters of a number that a float holds for sure."""
DEEPEST = 200
"""Levels of JSON. Rows of ours have a handful."""
TOO_DEEP = {"unreadable": "nested deeper than this program reads"}

_BRACKETS = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{}]', re.DOTALL)


class TimeOutOfRange(datetime):
    """A moment that Python's calendar has not: before the year 1, after 9999, or infinity. Compares as the first or the
    last one that it has, and is printed as Postgres writes it."""

    text: str

    @classmethod
    def of(cls, text: str) -> Self:
        """``text`` is Postgres's: ``20000-01-01 00:00:00+00``, ``0044-03-15 00:00:00+00 BC``, ``infinity``."""
        made = cls(1, 1, 1, tzinfo=UTC)
        if not (text.startswith("-") or text.endswith("BC")):
            made = cls(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text

    def __format__(self, form: str) -> str:
        return self.text

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        """As Postgres writes it: there is no other form."""
        return self.text

    def astimezone(self, tz: Any = None) -> Self:
        """Itself: a shift would leave the calendar."""
        return self


def loads(text: str | bytes) -> Any:
    """JSON as ``json.loads`` reads it, but for numbers that Python's types would refuse or spoil: those are Decimals.
    What is nested too deeply is ``TOO_DEEP``. Raises ValueError for what is no JSON."""
    if isinstance(text, bytes):
        text = text.decode()
    if _is_too_deep(text):
        return dict(TOO_DEEP)
    return json.loads(text, parse_int=_integer, parse_float=_fraction)


def _is_too_deep(text: str) -> bool:
    """Told before it is parsed: libraries raise Python's own limit so far that the stack ends first."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        found = match[0]
        if found in ("[", "{"):
            depth += 1
            if depth > DEEPEST:
                return True
        elif found in ("]", "}"):
            depth -= 1
    return False


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= LONGEST_INTEGER else Decimal(text)


def _fraction(text: str) -> float | Decimal:
    value = float(text)
    if len(text) <= EXACT_DIGITS and math.isfinite(value) and value != 0:
        return value
    exact = Decimal(text)
    return value if exact == Decimal(repr(value)) else exact


@cache
def adapters() -> AdaptersMap:
    """How values are read on every connection of ours: the ``context`` of ``connect``."""
    made = AdaptersMap(psycopg.adapters)
    set_json_loads(loads, made)
    for name, loader in (("timestamptz", _Timestamptz), ("interval", _Interval)):
        made.register_loader(name, loader)
    return made


class _Carefully(Loader):
    """The driver's own loader, and what to do where it gives up."""

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        usual = psycopg.adapters.get_loader(oid, Format.TEXT)
        assert usual is not None  # noqa: S101 - a type of every server
        self._usual = usual(oid, context)


class _Timestamptz(_Carefully):
    def load(self, data: Buffer) -> datetime:
        try:
            moment: datetime = self._usual.load(data)
        except psycopg.DataError:
            return TimeOutOfRange.of(bytes(data).decode())
        return moment


class _Interval(_Carefully):
    def load(self, data: Buffer) -> timedelta:
        text = bytes(data)
        if text.endswith(b"infinity"):  # the driver reads nothing in it, and takes it for no time at all
            return timedelta.min if text.startswith(b"-") else timedelta.max
        try:
            length: timedelta = self._usual.load(data)
        except psycopg.DataError:
            return timedelta.min if text.startswith(b"-") else timedelta.max
        return length
