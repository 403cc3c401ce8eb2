"""What a run of the benchmarks keeps and says: after each measure, when one fails, and when it is interrupted."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import report, run
from bench.bench import Bench
from bench.contestants import OURS
from bench.result import Result

Kept = list[dict[str, Any]]


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the results go; nothing else of a run is real but the measures."""

    @contextmanager
    def no_server() -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(version=lambda: "18")

    monkeypatch.setattr(run, "server", no_server)
    monkeypatch.setattr(run, "versions", lambda *_: {"flagpost": "abc"})
    monkeypatch.setattr(run, "machine", lambda: {"memory": "1 GiB"})
    for name, measure in (("latency", quick), ("drain", fails), ("enqueue", interrupted), ("flips", quick)):
        monkeypatch.setitem(sys.modules, f"bench.measures.{name}", SimpleNamespace(measure=measure))
    return tmp_path / "results.json"


async def quick(bench: Bench) -> list[Result]:
    bench.expect(1)
    bench.advance("done")
    return [Result("latency.from_call.p50", "ms", {OURS: [2.5]}), Result("latency.other", "ms", {OURS: [7]})]


async def fails(_: Bench) -> list[Result]:
    raise ValueError("no node")


async def interrupted(_: Bench) -> list[Result]:
    signal.raise_signal(sent.signal)
    await asyncio.sleep(60)
    raise AssertionError("it went on")


sent = SimpleNamespace(signal=signal.SIGTERM)
"""What interrupts a measure."""


def ran(monkeypatch: pytest.MonkeyPatch, output: Path, *measures: str) -> int:
    monkeypatch.setattr(
        sys, "argv", ["run", "--peers", "none", "--scale", "0.1", "--output", str(output), "--only", *measures]
    )
    return run.main()


def kept(output: Path) -> Kept:
    found: Kept = json.loads(output.read_text(encoding="utf-8"))
    return found


def test_a_line_for_each_measure(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, output, "latency", "flips") == 0
    said = capsys.readouterr().err.splitlines()
    assert "latency: 0 s; from_call.p50 2.5 ms" in said, "the figure that aims are about, and no other"
    assert any(line.startswith("flips: 0 s; ") for line in said)
    assert [one["partial"] for one in kept(output)] == [None] * 4


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_keeps_what_has_ended(
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    signum: signal.Signals,
) -> None:
    monkeypatch.setattr(sent, "signal", signum)
    # As from a terminal, also where the tests run in the background of a script.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    assert ran(monkeypatch, output, "latency", "enqueue", "flips") == 130
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert {(one["measure"], one["partial"]) for one in kept(output)} == {
        ("latency.from_call.p50", "enqueue, flips did not end"),
        ("latency.other", "enqueue, flips did not end"),
    }
    assert "interrupted: enqueue, flips did not end" in capsys.readouterr().err
    found = {one["measure"]: one for one in kept(output)}
    assert "**Partial:** enqueue, flips did not end." in report.measured_part(found, {}, output)


def test_sigterm_ends_a_run_in_the_background(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent, "signal", signal.SIGTERM)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert ran(monkeypatch, output, "latency", "enqueue") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(kept(output)) == 2


def test_results_of_before_stay_where_nothing_ended(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output.write_text("[1]", encoding="utf-8")
    assert ran(monkeypatch, output, "enqueue") == 130
    assert kept(output) == [1]


def test_a_measure_that_fails_keeps_nobody_from_the_others(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, output, "latency", "drain", "flips") == 1
    assert "failed: drain: ValueError: no node" in capsys.readouterr().err
    assert [one["partial"] for one in kept(output)] == ["drain did not end"] * 4
