"""Which processes of a host count as hung: never one that could not have said anything."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from pipeline.scaling.hung import HungAfter, HungProcesses, Started
from pipeline.scaling.slots import Slot
from pipeline.workers.registry import Desired

NAME = "all-sync-001"
BEGAN = datetime(2026, 12, 1, tzinfo=UTC)
AFTER = HungAfter(restart=15.0, silent=60.0, interrupted=10.0)
BEFORE = uuid4()
PROCESS = Started(pid=7, generation=0, former=BEFORE)
REGISTERED = Slot(
    NAME, "sync", "", Desired.RUNNING, 0, pid=7, kept=True, free=False, incarnation=uuid4(), heartbeat=BEGAN, observed=0
)
TOLD = replace(REGISTERED, generation=1, restart_generation=1)


class Asking:
    """An agent that asks every 2 s."""

    def __init__(self, heartbeat_seconds: float = 10.0) -> None:
        self.now = 1000.0
        self.watch = HungProcesses(AFTER)
        self._heartbeat_seconds = heartbeat_seconds

    def look(self, slot: Slot, process: Started = PROCESS) -> str | None:
        """One answer."""
        self.now += 2.0
        self.watch.answered(self.now)
        return self.again(slot, process)

    def again(self, slot: Slot, process: Started = PROCESS) -> str | None:
        return self.watch.find({NAME: process}, {NAME: slot}, self._heartbeat_seconds).get(NAME)

    def until_hung(self, slot: Slot, process: Started = PROCESS, patience: float = 300.0) -> float | None:
        """Seconds until the process counts as hung; None: not within ``patience``."""
        began = self.now
        while self.now - began < patience:
            if self.look(slot, process):
                return self.now - began
        return None


@pytest.fixture
def asking() -> Asking:
    return Asking()


def test_one_that_says_something_lives(asking: Asking) -> None:
    for beat in range(100):
        assert asking.look(replace(REGISTERED, heartbeat=BEGAN + timedelta(seconds=30 * (beat // 15)))) is None


def test_one_that_is_silent_hangs(asking: Asking) -> None:
    assert asking.until_hung(REGISTERED) == pytest.approx(AFTER.silent, abs=4.0)
    assert asking.again(REGISTERED) == "no heartbeat for 62 s while the database answers"


def test_where_heartbeats_are_rare_five_have_to_be_missed() -> None:
    assert Asking(heartbeat_seconds=30.0).until_hung(REGISTERED) == pytest.approx(150.0, abs=4.0)


def test_one_whose_row_is_locked_cannot_say_anything(asking: Asking) -> None:
    asking.until_hung(REGISTERED, patience=AFTER.silent - 2)
    assert asking.until_hung(replace(REGISTERED, locked=True)) is None
    assert asking.until_hung(REGISTERED) == pytest.approx(AFTER.silent, abs=4.0)


def test_while_no_answer_comes_nobody_is_judged(asking: Asking) -> None:
    asking.until_hung(REGISTERED, patience=AFTER.silent - 2)
    asking.now += 1000
    assert asking.again(REGISTERED) is None


def test_after_an_outage_each_has_the_whole_time_again(asking: Asking) -> None:
    asking.until_hung(REGISTERED, patience=AFTER.silent - 2)
    asking.watch.interrupted()
    assert asking.again(REGISTERED) is None
    assert asking.until_hung(REGISTERED) == pytest.approx(AFTER.silent, abs=4.0)


def test_after_the_agent_stood_still_each_has_the_whole_time_again(asking: Asking) -> None:
    asking.until_hung(REGISTERED, patience=AFTER.silent - 2)
    asking.now += 600
    assert asking.until_hung(REGISTERED) == pytest.approx(AFTER.silent, abs=4.0)


def test_one_that_stood_still_with_its_machine_has_not_missed_more_than_the_agent_saw(asking: Asking) -> None:
    """The monotonic clock stood still, too; the heartbeat is an hour old by the clock of the database."""
    for beat in range(3):
        asking.look(replace(REGISTERED, heartbeat=BEGAN + timedelta(seconds=beat)))
    assert asking.until_hung(replace(REGISTERED, heartbeat=BEGAN - timedelta(hours=1)), patience=50.0) is None


def test_one_that_is_not_registered_is_not_judged_by_its_silence(asking: Asking) -> None:
    assert asking.until_hung(replace(REGISTERED, pid=6)) is None
    assert asking.until_hung(replace(REGISTERED, incarnation=BEFORE)) is None, "the process before had the same pid"


def test_one_that_does_not_restart_hangs_soon(asking: Asking) -> None:
    assert asking.until_hung(REGISTERED, patience=10.0) is None
    assert asking.until_hung(TOLD) == pytest.approx(AFTER.restart, abs=4.0)
    assert asking.again(TOLD) == "told to restart 16 s ago, it did not"


def test_heartbeats_do_not_make_a_restart_done(asking: Asking) -> None:
    """Its heartbeats go on; what reads commands is stuck."""
    found = [asking.look(replace(TOLD, heartbeat=BEGAN + timedelta(seconds=beat))) for beat in range(10)]
    assert found[-1] is not None


def test_one_that_began_after_the_command_has_obeyed_it(asking: Asking) -> None:
    assert asking.until_hung(replace(TOLD, observed=1), patience=50.0) is None


def test_one_that_is_not_registered_is_judged_by_what_was_told_since_it_began(asking: Asking) -> None:
    waiting = replace(TOLD, pid=6)
    assert asking.until_hung(waiting, replace(PROCESS, generation=1)) is None
    assert asking.until_hung(waiting) == pytest.approx(AFTER.restart, abs=4.0)


def test_a_command_given_before_an_outage_counts_from_its_end(asking: Asking) -> None:
    asking.until_hung(TOLD, patience=AFTER.restart - 2)
    asking.watch.interrupted()
    assert asking.until_hung(TOLD) == pytest.approx(AFTER.restart, abs=4.0)


def test_the_next_process_of_a_slot_begins_anew(asking: Asking) -> None:
    assert asking.until_hung(REGISTERED)
    after = replace(PROCESS, pid=8)
    assert asking.until_hung(replace(REGISTERED, pid=8), after) == pytest.approx(AFTER.silent, abs=4.0)
