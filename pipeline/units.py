"""Raw integers and human amounts.

Inside the system money is an ``int`` of the chain's smallest unit (sun, wei, a token's own); people
read and write decimal strings. The two convert exactly, by moving a point in a string: no float
and no decimal context takes part.
"""

import re
from decimal import Decimal

TRX_DECIMALS = 6
"""1 TRX = 1,000,000 sun."""

MAX_RAW = 10**78 - 1
"""What ``raw_amount`` holds in the database; above every uint256."""

_HUMAN = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)


class InvalidAmount(ValueError):
    """Not an amount: negative, not a number, fractional where raw units are whole, or with too many decimals."""


def to_raw(human: str | int | Decimal, decimals: int) -> int:
    """Raw units of a human amount: ``to_raw("1.5", 6) == 1_500_000``.

    Raises InvalidAmount for a negative amount, NaN, an exponent, or a part smaller than one raw unit.
    """
    text = _plain(human)
    match = _HUMAN.fullmatch(text)
    if match is None:
        raise InvalidAmount(f"amount {human!r} is not a decimal number: write it like 12 or 12.5")
    whole, fraction = match[1], (match[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise InvalidAmount(
            f"amount {text} has {len(fraction)} decimals, this asset has {decimals}: "
            f"the smallest amount is {to_human(1, decimals)}"
        )
    return _bounded(int(whole + fraction.ljust(decimals, "0")))


def to_human(raw: int, decimals: int) -> str:
    """The shortest decimal string of ``raw`` units: ``to_human(1_500_000, 6) == "1.5"``.

    Raises InvalidAmount when ``raw`` is negative or not an int.
    """
    digits = str(parse_raw(raw)).rjust(decimals + 1, "0")
    split = len(digits) - decimals
    fraction = digits[split:].rstrip("0")
    return f"{digits[:split]}.{fraction}" if fraction else digits[:split]


def parse_raw(value: int | str | Decimal) -> int:
    """A raw amount from the database or from JSON as an int.

    Raises InvalidAmount for a negative or fractional one, NaN, or more than 78 digits.
    """
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise InvalidAmount(f"raw amount {value!r} is a {type(value).__name__}: use an int or a string of digits")
    if isinstance(value, int):
        if value < 0:
            raise InvalidAmount(f"raw amount {value} is negative")
        return _bounded(value)
    text = _plain(value)
    match = _HUMAN.fullmatch(text)
    if match is None:
        raise InvalidAmount(f"raw amount {value!r} is not a whole number of raw units")
    if (match[2] or "").strip("0"):
        raise InvalidAmount(f"raw amount {text} is fractional: raw units (sun, wei) are whole")
    return _bounded(int(match[1]))


def _plain(value: object) -> str:
    """``value`` as plain digits with at most one point."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidAmount(f"amount {value} is not a number")
        text = f"{value:f}"
    elif isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidAmount(f"amount {value!r} is a {type(value).__name__}: use a decimal string, never a float")
    else:
        text = str(value).strip()
    if text.startswith("-") and text.strip("-0."):
        raise InvalidAmount(f"amount {text} is negative")
    return text.removeprefix("-") if isinstance(value, Decimal) else text


def _bounded(raw: int) -> int:
    if raw > MAX_RAW:
        raise InvalidAmount(f"raw amount of {len(str(raw))} digits: 78 is the most that is kept")
    return raw
