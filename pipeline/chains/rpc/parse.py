"""From the bytes of a node's answer to JSON values, within bounds that are checked before anything is built.

``json`` recurses for each level of nesting, and some library may have raised the recursion limit beyond what the stack
holds (py_ecc does, to 100,000): 200,000 brackets then end the process. It reads NaN and Infinity too, which JSON has
not, and rounds 1e999 to infinity.
"""

import json
import math
from typing import Any

DEEPEST = 64
"""Levels that always pass; twice as many never do. The deepest answer that is read, a block's logs in a batch, has
7."""
MOST_VALUES = 2_000_000
"""In one answer. The largest real ones, a block's receipts with 100,000 logs, have about 1.2 million; each is some 60
to 120 bytes in memory."""

_OUTSIDE = bytes(byte for byte in range(256) if byte not in b'"[]{},')


class NotJson(ValueError):
    """The body is not JSON, or is no answer that a node gives; the message says why."""


def parse(body: bytes) -> Any:
    """The JSON value of a body, bytes that are not UTF-8 replaced. Raises NotJson."""
    _check_size(body)
    try:
        return json.loads(body.decode("utf-8", "replace"), parse_constant=_no_constant, parse_float=_finite)
    except ValueError as error:
        raise NotJson(_why(error)) from None


def _check_size(body: bytes) -> None:
    """Raises NotJson for more levels or values than an answer has. Reads no string: text from outside may have
    brackets."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What is left of a string without brackets and commas is "", so that most answers keep nothing but their structure.
    structure = body.translate(None, _OUTSIDE).replace(b'""', b"")
    if b'"' in structure:
        structure = b"".join(structure.split(b'"')[::2])
    brackets = structure.translate(None, b",")
    if len(structure) - len(brackets) // 2 > MOST_VALUES:
        raise NotJson(f"it has more than {MOST_VALUES} values")
    for _ in range(DEEPEST):
        if not brackets:
            return
        # Every pair that holds nothing goes: one level less, or two.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise NotJson(f"its brackets are nested more than {DEEPEST} deep, or do not match")


def _no_constant(name: str) -> Any:
    raise NotJson(f"it has {name} in the place of a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotJson("it has a number beyond all that JSON readers hold")
    return number


def _why(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error)
