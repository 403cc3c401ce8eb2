"""Bodies of answers: bounded before anything is built of them, and nothing in them that JSON has not."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.rpc import parse as module
from pipeline.chains.rpc.parse import DEEPEST, NotJson, parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('[]{},"\\ab'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}",\\'), inner),
)


@given(VALUES)
def test_what_is_json_is_read_as_json_reads_it(value: Any) -> None:
    body = json.dumps(value).encode()
    assert parse(body) == json.loads(body)


@pytest.mark.parametrize("text", ["[" * 10_000, "{" * 10_000, '","' * 10_000, '\\"[', "\\\\", '\\\\"[' * 500, '"'])
def test_brackets_within_a_text_are_no_levels(text: str) -> None:
    """An outsider's words in somebody's block must not make it unreadable."""
    value = {"a": [text, {"b": text}, text + "x"]}
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_levels_are_bounded(opened: str, closed: str) -> None:
    assert parse((opened * (DEEPEST // 2 - 1) + "1" + closed * (DEEPEST // 2 - 1)).encode())
    for depth in (2 * DEEPEST + 1, 200_000):
        with pytest.raises(NotJson, match="nested more than 64 deep"):
            parse((opened * depth + "1" + closed * depth).encode())


def test_levels_are_bounded_whatever_a_library_did_to_the_recursion_limit() -> None:
    """200,000 brackets ended the process where some library had raised it: the stack is smaller."""
    code = """
import sys; sys.setrecursionlimit(100_000)
from pipeline.chains.rpc.parse import NotJson, parse
for body in (b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 200_000, b"[" * 200_000):
    try: parse(body)
    except NotJson: print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 3), done.stderr


def test_no_process_of_ours_raises_the_recursion_limit() -> None:
    code = "import sys, pipeline.chains.evm.provider, pipeline.chains.tron.provider; print(sys.getrecursionlimit())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1000"


def test_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_VALUES", 10)
    assert len(parse(b"[" + b"1," * 8 + b"1]")) == 9
    assert len(parse(json.dumps([",[{" * 100] * 5).encode())) == 5
    for body in (b"[" + b"1," * 10 + b"1]", b"[" + b"[]," * 10 + b"1]", b"[" + b'{"a":1},' * 10 + b"1]"):
        with pytest.raises(NotJson, match="more than 10 values"):
            parse(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"NaN", "NaN in the place of a number"),
        (b'{"a": Infinity}', "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "beyond all that"),
        (b"[-1e999]", "beyond all that"),
        (b"9" * 5_000, "4300 digits"),
        (b"", "Expecting value at character 0"),
        (b"[1,]", "character 3"),
        (b"\xff\xfe[\x00", "do not match"),
        (b'"\x00"', "Invalid control character"),
        (b"[1] [2]", "Extra data"),
        (b"]", "do not match"),
    ],
)
def test_what_is_no_json(body: bytes, why: str) -> None:
    with pytest.raises(NotJson, match=why) as caught:
        parse(body)
    assert str(caught.value).isprintable()


def test_what_is_odd_within_json_is_left_to_the_readers() -> None:
    assert parse(b'["\\ud800", "\\u0000", -0, 1.5, "\xff"]') == ["\ud800", "\x00", 0, 1.5, "\ufffd"]
