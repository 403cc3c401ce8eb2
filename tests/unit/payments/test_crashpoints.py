"""A crash point kills by SIGKILL at the named place and nowhere else."""

import dataclasses
import signal
import subprocess
import sys

import pytest

from pipeline.payments.crashpoints import FIRST, GAP, REPLACEMENT, CrashPoint, arm, crash_here

SCRIPT = """
from pipeline.payments.crashpoints import CrashPoint, arm, crash_here
arm({spec!r})
crash_here(CrashPoint.SEND_AFTER)
crash_here(CrashPoint.SETTLE_OPEN)
print("between", flush=True)
crash_here(CrashPoint.SETTLE_OPEN)
print("survived", flush=True)
"""


def run(spec: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(spec=spec)], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("spec", "output", "code"),
    [
        ("settle.open", "", -signal.SIGKILL),
        ("settle.open:2", "between\n", -signal.SIGKILL),
        ("settle.open:3", "between\nsurvived\n", 0),
        ("expire.open", "between\nsurvived\n", 0),
        (None, "between\nsurvived\n", 0),
    ],
)
def test_dies_by_sigkill_at_the_nth_passage(spec: str | None, output: str, code: int) -> None:
    ended = run(spec)
    assert (ended.stdout, ended.returncode) == (output, code)


@pytest.mark.parametrize("spec", ["nowhere", "settle.open:x", ":1"])
def test_an_unknown_name_is_refused_and_the_known_ones_are_named(spec: str) -> None:
    with pytest.raises(ValueError, match=r"settle\.open"):
        arm(spec)
    crash_here(CrashPoint.SETTLE_OPEN)  # still alive: a refused name arms nothing


def test_every_point_is_passed_somewhere_in_the_code() -> None:
    from pathlib import Path

    import pipeline.payments

    code = "".join(path.read_text() for path in Path(pipeline.payments.__file__).parent.rglob("*.py"))
    shared = {point for passage in (FIRST, REPLACEMENT, GAP) for point in dataclasses.astuple(passage)}
    unused = [
        point.name for point in CrashPoint if f"crash_here(CrashPoint.{point.name})" not in code and point not in shared
    ]
    assert unused == []
