"""What a node says, taken apart: each reader gives a value of the right type and range, or raises MalformedAnswer.

A reader names what it reads, so that the error says which field of which answer was odd. Whatever is raised while an
answer is taken apart is the answer's fault: ``reading`` makes a NodeFailure of it, and another node is asked.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from pipeline.chains.errors import ChainError
from pipeline.chains.rpc.http import Node, NodeFailure
from pipeline.printable import printable, shown

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1
"""Of a Postgres bigint, and of every amount on TRON."""
MAX_UINT256 = 2**256 - 1
"""78 digits, as many as ``raw_amount`` holds."""
MAX_HEIGHT = 2**48
"""No chain has so many blocks; what is added to a height here and in SQL stays below a bigint."""
MAX_COUNT = 2**62
"""Of transactions of one sender, of units of gas."""
MAX_PRICE = 2**128
"""Wei for a unit of gas. A fee is this times a count of gas, and stays below 78 digits."""
FUTURE_SECONDS = 86_400
"""How far a block may be ahead of our own clock. A TRON payment expires by the time of the newest block: a block of
next year would keep its money waiting until then."""
MOST_ITEMS = 200_000
"""In one list: transactions of a block, logs of an answer."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_BARE_HASH = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]*", re.ASCII)


class MalformedAnswer(ValueError):
    """A value that is not what it has to be; the message names it, in characters that are safe to show."""

    def __init__(self, name: str, value: Any, wanted: str) -> None:
        super().__init__(f"{name} is {shown(value)}: not {wanted}")


def mapping(value: Any, name: str) -> dict[str, Any]:
    """A JSON object. Raises MalformedAnswer."""
    if not isinstance(value, dict):
        raise MalformedAnswer(name, value, "an object")
    return value


def sequence(value: Any, name: str, most: int = MOST_ITEMS) -> list[Any]:
    """A JSON list of at most ``most`` items. Raises MalformedAnswer."""
    if not isinstance(value, list):
        raise MalformedAnswer(name, value, "a list")
    if len(value) > most:
        raise MalformedAnswer(name, len(value), f"at most {most} items")
    return value


def field(answer: Any, name: str) -> Any:
    """What stands under ``name``; None where nothing does. Raises MalformedAnswer for anything but an object."""
    if isinstance(answer, dict):
        return answer.get(name)
    raise MalformedAnswer(f"what holds {name}", answer, "an object")


def whole(value: Any, name: str, most: int = MAX_INT64, *, missing: int | None = None) -> int:
    """A JSON number without a fraction, from 0 to ``most``; ``missing`` where there is none. Raises MalformedAnswer."""
    if value is None and missing is not None:
        return missing
    if type(value) is not int or not 0 <= value <= most:
        raise MalformedAnswer(name, value, f"a whole number from 0 to {most}")
    return value


def quantity(value: Any, name: str, most: int = MAX_UINT256) -> int:
    """A number as JSON-RPC writes it: 0x and hex digits, from 0 to ``most``. Raises MalformedAnswer."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None or (number := int(value, 16)) > most:
        raise MalformedAnswer(name, value, f"0x and hex digits, at most {most:#x}")
    return number


def hash_text(value: Any, name: str = "a hash") -> str:
    """0x and 64 lower-case hex digits. Raises MalformedAnswer."""
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise MalformedAnswer(name, value, "0x and the 64 hex digits of a hash")
    return value.lower()


def bare_hash(value: Any, name: str) -> str:
    """64 lower-case hex digits without 0x, as TRON writes them. Raises MalformedAnswer."""
    if not isinstance(value, str) or _BARE_HASH.fullmatch(value) is None:
        raise MalformedAnswer(name, value, "the 64 hex digits of a hash")
    return value.lower()


def hex_bytes(value: Any, name: str, prefix: str = "") -> bytes:
    """Bytes written as hex digits behind ``prefix``. Raises MalformedAnswer."""
    start = len(prefix)
    if isinstance(value, str) and value.startswith(prefix) and len(value) % 2 == 0 and _HEX.fullmatch(value, start):
        return bytes.fromhex(value[start:])
    raise MalformedAnswer(name, value, f"{prefix or 'an even number of'} hex digits")


def text(value: Any, name: str) -> str:
    """Words of a node, safe to show and to store; empty for null. Raises MalformedAnswer for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedAnswer(name, value, "text")
    return printable(value)


def moment(seconds: float, now: float, name: str) -> datetime:
    """An aware UTC datetime of seconds since 1970, at most FUTURE_SECONDS after ``now``. Raises MalformedAnswer."""
    if not 0 <= seconds <= now + FUTURE_SECONDS:
        raise MalformedAnswer(name, seconds, f"a time up to a day after now ({now:.0f} by this machine's clock)")
    return datetime.fromtimestamp(seconds, UTC)


@contextmanager
def reading(node: Node, what: str) -> Iterator[None]:
    """Around code that takes an answer to ``what`` apart: an odd one becomes a NodeFailure."""
    try:
        yield
    except ChainError:
        raise
    except MalformedAnswer as odd:
        raise NodeFailure("shape", f"{node.name} answered {what} in an unknown form: {odd}") from odd
    except Exception as error:  # whatever an answer brings about is that node's failure, and the next is asked
        raise unforeseen(node, what, error) from error


def unforeseen(node: Node, what: str, error: Exception) -> NodeFailure:
    """A failure of ``node`` in place of an unexpected error of an answer; its traceback is logged."""
    kind, said = type(error).__name__, printable(str(error))
    # A bug of ours, or of a library. The same one comes back with every question.
    level = "ERROR" if node.unforeseen.due() else "DEBUG"
    logger.opt(exception=error).log(level, "{} answered {} unexpectedly: {}: {}", *(node.name, what, kind, said))
    return NodeFailure("shape", f"{node.name} answered {what} in an unknown form ({kind}: {said})")
