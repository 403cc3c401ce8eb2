"""Amounts convert exactly, and what is not an amount says why."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.units import MAX_RAW, TRX_DECIMALS, InvalidAmount, parse_raw, to_human, to_raw


@pytest.mark.parametrize(
    ("human", "decimals", "raw"),
    [
        ("1.5", 6, 1_500_000),
        ("0", 6, 0),
        ("0.000001", TRX_DECIMALS, 1),
        ("1.5000000000", 6, 1_500_000),
        ("007", 0, 7),
        (200, 6, 200_000_000),
        (Decimal("1E+3"), 6, 1_000_000_000),
        (Decimal("0.10"), 18, 10**17),
        ("115792089237316195423570985008687907853269984665640564039457.584007913129639935", 18, 2**256 - 1),
    ],
)
def test_to_raw(human: str | int | Decimal, decimals: int, raw: int) -> None:
    assert to_raw(human, decimals) == raw


@pytest.mark.parametrize(
    ("human", "message"),
    [
        ("-1", "is negative"),
        (-1, "is negative"),
        (Decimal("-0.5"), "is negative"),
        ("0.0000001", "7 decimals, this asset has 6: the smallest amount is 0.000001"),
        ("NaN", "not a decimal number"),
        (Decimal("NaN"), "not a number"),
        (Decimal("Infinity"), "not a number"),
        ("1e3", "not a decimal number"),
        ("1,5", "not a decimal number"),
        ("", "not a decimal number"),
        (".5", "not a decimal number"),
        ("٣", "not a decimal number"),
        (1.5, "never a float"),
        (True, "never a float"),
        ("9" * 73, "78 is the most"),
    ],
)
def test_to_raw_refuses(human: str, message: str) -> None:
    with pytest.raises(InvalidAmount, match=message):
        to_raw(human, 6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "is negative"),
        ("-1", "is negative"),
        (Decimal("1.5"), "fractional"),
        ("1.5", "fractional"),
        (1.0, "is a float"),
        (True, "is a bool"),
        (Decimal("NaN"), "not a number"),
        ("x", "not a whole number"),
        (MAX_RAW + 1, "78 is the most"),
    ],
)
def test_parse_raw_refuses(value: int, message: str) -> None:
    with pytest.raises(InvalidAmount, match=message):
        parse_raw(value)


def test_parse_raw_takes_what_the_database_gives() -> None:
    assert parse_raw(Decimal(2**256 - 1)) == 2**256 - 1
    assert parse_raw("12.000") == 12


@given(raw=st.integers(0, MAX_RAW), decimals=st.integers(0, 36))
def test_round_trip(raw: int, decimals: int) -> None:
    human = to_human(raw, decimals)
    assert to_raw(human, decimals) == raw
    assert Decimal(human).as_tuple().exponent >= -decimals  # type: ignore[operator]
    assert not (human.endswith("0") and "." in human)


@given(text=st.text(max_size=12), decimals=st.integers(0, 18))
def test_any_text_is_an_amount_or_a_clear_error(text: str, decimals: int) -> None:
    try:
        raw = to_raw(text, decimals)
    except InvalidAmount:
        return
    assert Decimal(to_human(raw, decimals)) == Decimal(text.strip())
