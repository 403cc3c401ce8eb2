"""Readers of what a node says: a value of the right type and range, or the name of the field that was odd."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.errors import InconsistentNode
from pipeline.chains.rpc import answers
from pipeline.chains.rpc.answers import FUTURE_SECONDS, MAX_INT64, MAX_UINT256, MalformedAnswer
from pipeline.chains.rpc.http import Node, NodeConfig, NodeFailure

HASH = "ab" * 32
NOW = 1_800_000_000
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
READERS: list[Callable[[Any], Any]] = [
    lambda value: answers.mapping(value, "x"),
    lambda value: answers.sequence(value, "x"),
    lambda value: answers.field(value, "x"),
    lambda value: answers.whole(value, "x"),
    lambda value: answers.quantity(value, "x"),
    lambda value: answers.hash_text(value, "x"),
    lambda value: answers.bare_hash(value, "x"),
    lambda value: answers.hex_bytes(value, "x"),
    lambda value: answers.hex_bytes(value, "x", "0x"),
    lambda value: answers.text(value, "x"),
]


@pytest.mark.parametrize("reader", READERS)
@given(value=ANY)
def test_any_value_is_read_or_odd(reader: Callable[[Any], Any], value: Any) -> None:
    said = ""
    try:
        reader(value)
    except MalformedAnswer as odd:
        said = str(odd)
    assert said == "" or "x" in said
    assert said.isprintable()
    assert len(said) < 300


@pytest.mark.parametrize(
    ("value", "number"),
    [("0x0", 0), ("0x00", 0), ("0x1F", 31), ("0x" + "f" * 64, MAX_UINT256)],
)
def test_quantities(value: str, number: int) -> None:
    assert answers.quantity(value, "x") == number


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0x",
        "1f",
        "0X1f",
        "-0x1",
        "0x-1",
        "0x_1",
        "0x1 ",
        " 0x1",
        "0x1g",
        "0x" + "f" * 65,
        "\u0661",
        1,
        1.0,
        True,
        None,
    ],
)
def test_no_quantities(value: object) -> None:
    with pytest.raises(MalformedAnswer):
        answers.quantity(value, "x")


def test_the_range_of_a_quantity() -> None:
    assert answers.quantity("0x10", "x", 16) == 16
    with pytest.raises(MalformedAnswer, match="height is '0x11': not 0x and hex digits, at most 0x10"):
        answers.quantity("0x11", "height", 16)


@pytest.mark.parametrize("value", [-1, MAX_INT64 + 1, 1.0, 1e3, float("nan"), True, "1", None, [1]])
def test_no_whole_numbers(value: object) -> None:
    with pytest.raises(MalformedAnswer):
        answers.whole(value, "x")


def test_whole_numbers() -> None:
    assert answers.whole(MAX_INT64, "x") == MAX_INT64
    assert answers.whole(None, "x", missing=0) == 0


def test_hashes() -> None:
    assert answers.hash_text("0x" + HASH.upper(), "x") == "0x" + HASH
    assert answers.bare_hash(HASH.upper(), "x") == HASH
    for odd in ("0x" + HASH[:-1], HASH[:-2] + "-1", "0x" + HASH + "00", "0x" + HASH[:-1] + "\u0661", None, 5, [HASH]):
        with pytest.raises(MalformedAnswer):
            answers.hash_text(odd, "x")
        with pytest.raises(MalformedAnswer):
            answers.bare_hash(odd, "x")


def test_bytes() -> None:
    assert answers.hex_bytes("0x", "x", "0x") == b""
    assert answers.hex_bytes("0xAb01", "x", "0x") == b"\xab\x01"
    assert answers.hex_bytes("ab01", "x") == b"\xab\x01"
    for odd in ("0xa", "0xzz", "0x a b", "ab01", None, b"", 1):
        with pytest.raises(MalformedAnswer):
            answers.hex_bytes(odd, "x", "0x")


def test_words_are_safe_and_short() -> None:
    assert answers.text(None, "x") == ""
    assert answers.text("a\x1b[2J\nb\x00\ud800", "x") == r"a\x1b[2J\nb\x00\ud800"
    assert len(answers.text("x" * 10_000, "x")) == 300


def test_times_up_to_a_day_ahead_of_our_clock() -> None:
    assert answers.moment(0, NOW, "x") == datetime(1970, 1, 1, tzinfo=UTC)
    assert answers.moment(NOW + FUTURE_SECONDS, NOW, "x").tzinfo is UTC
    for odd in (-1, NOW + FUTURE_SECONDS + 1, 2**63, 2**256, float("inf"), float("nan")):
        with pytest.raises(MalformedAnswer, match="by this machine's clock"):
            answers.moment(odd, NOW, "timestamp")


def test_lists_are_bounded() -> None:
    assert answers.sequence([1, 2], "x", 2) == [1, 2]
    with pytest.raises(MalformedAnswer, match="x is 3: not at most 2 items"):
        answers.sequence([1, 2, 3], "x", 2)


async def test_reading_makes_a_failure_of_the_node() -> None:
    node = Node(NodeConfig("http://127.0.0.1:1/secret"))
    odd = r"^http://127\.0\.0\.1:1 answered a block in an unknown form: number is 'x'"
    with pytest.raises(NodeFailure, match=odd), answers.reading(node, "a block"):
        answers.whole("x", "number")
    unforeseen = r"unknown form \(ZeroDivisionError: by \\x1b\)"
    with pytest.raises(NodeFailure, match=unforeseen), answers.reading(node, "a block"):
        raise ZeroDivisionError("by \x1b")
    with pytest.raises(InconsistentNode), answers.reading(node, "a block"):
        raise InconsistentNode("a lie stays one")
    await node.close()
