"""What the processes of a host say is passed on whole, a line at a time, with the slot on the left."""

import io

import pytest

from pipeline.local.supervisor import name_of
from pipeline.scaling.output import LONGEST_LINE, Lines, Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_the_slot_stands_on_the_left() -> None:
    stream = io.StringIO()
    output = Output(stream)
    output.write("all-sync-001", "ready")
    output.write("clock", "tick")
    assert stream.getvalue() == "all-sync-001 | ready\nclock        | tick\n"


def test_json_stays_json() -> None:
    stream = Terminal()
    Output(stream, as_json=True).write("all-sync-001", '{"a": 1}')
    assert stream.getvalue() == '{"a": 1}\n'


def test_on_a_terminal_each_has_a_colour() -> None:
    stream = Terminal()
    output = Output(stream)
    for name in ("a", "b", "a"):
        output.write(name, "x")
    first, second, third = stream.getvalue().splitlines()
    assert first == third != second
    assert first.startswith("\033[")
    assert first.endswith("\033[0mx")


def test_where_nobody_reads_it_is_dropped() -> None:
    output = Output(Closed())
    for _ in range(2):
        output.write("a", "x")


def test_bytes_become_lines_wherever_they_are_cut() -> None:
    text = "ä one\r\n\ntwo ".encode()
    for cut in range(len(text)):
        lines = Lines()
        assert [*lines.feed(text[:cut]), *lines.feed(text[cut:]), *lines.rest()] == ["ä one", "", "two "]
        assert lines.rest() == []


def test_a_line_without_an_end_is_passed_on_in_parts() -> None:
    lines = Lines()
    assert [len(part) for part in lines.feed(b"x" * (LONGEST_LINE + 1))] == [LONGEST_LINE + 1]
    assert lines.rest() == []


@pytest.mark.parametrize(
    ("slot", "name"),
    [
        ("all-sync-001", "sync"),
        ("all-gas-topup-001", "gas-topup"),
        ("bsc-testnet+tron-gas-topup-012", "gas-topup-012"),
        ("all-host-001", None),
        ("12:00:00.000 INFO    host: ready as x", None),
        ("customers", None),
    ],
)
def test_the_demo_names_workers_by_their_types(slot: str, name: str | None) -> None:
    assert name_of(slot) == name
