"""Text of others: nothing of it moves a cursor, begins a line, or is refused by Postgres."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.printable import LIMIT, printable, shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain – text, ünïcode 🦄", "plain – text, ünïcode 🦄"),
        ("a\x00b", r"a\x00b"),
        ("\ud800", r"\ud800"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("first\nsecond\r\t", r"first\nsecond\r\t"),
        ("to the left \u202e", r"to the left \u202e"),
        ("\u2028", r"\u2028"),
        ("", ""),
    ],
)
def test_what_is_not_printable_is_shown_escaped(text: str, safe: str) -> None:
    assert printable(text) == safe


def test_what_is_long_is_cut() -> None:
    assert printable("x" * 1_000_000) == "x" * (LIMIT - 1) + "…"
    assert len(printable("\x00" * 1_000_000)) == LIMIT
    assert printable("\x00" * 1_000, None) == r"\x00" * 1_000


@given(st.text(st.characters()))
def test_any_text_becomes_safe_and_stays_so(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    assert len(safe) <= LIMIT
    assert json.loads(json.dumps(safe).encode()) == safe
    assert safe.encode("utf-8").decode("utf-8") == safe
    assert printable(safe) == safe


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_value_is_shown_in_a_few_characters(value: object) -> None:
    assert len(shown(value)) <= 120
    assert shown(value).isprintable()
