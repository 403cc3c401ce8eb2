"""A short form of ``make availability``: flags are taken in time while processes, Postgres, nodes and links fail."""

from pathlib import Path

from tests.chaos.availability import measure, schedule_of
from tests.chaos.run import available

SECONDS = 15.0
BLOWS_PER_SECOND = 3.0
SEED = 7


async def test_flags_are_taken_in_time(tmp_path: Path) -> None:
    layouts, _, _ = available()
    schedule = schedule_of(SEED, layouts, evm=False, seconds=SECONDS, rate=BLOWS_PER_SECOND)
    made = await measure(schedule, tmp_path / "processes.log")
    assert made["problems"] == []
    assert sum(made["faults"].values()) > 0
    assert made["flags"] == SECONDS
    assert made["late"] == []
