"""When a listener claims and what its claim reads, by a clock that the test turns."""

import math
from dataclasses import dataclass, field

from pipeline.queue.jobs import TriggeredBy
from pipeline.queue.schedule import (
    DUE_CHECK_SECONDS,
    FIRST_XID,
    FULL_SCAN_SECONDS,
    FULL_SCAN_SHARE,
    MARGIN_SECONDS,
    SHORTEST_WAIT_SECONDS,
    DueJobs,
    FlagMarks,
    FlagScans,
    Scan,
    Schedule,
)

ROOM = 16
BATCH = 100
SWEEP_SECONDS = 300.0
GRACE_SECONDS = 5.0


MARKS = FlagMarks(standing="700", unseen="710")
LATER = FlagMarks(standing="720", unseen="730")


def read_fully(scans: FlagScans, at: float, took: float = 0.01, marks: FlagMarks = MARKS) -> None:
    """A full scan that ends."""
    assert scans.unseen_since(at, for_event=False) is None
    scans.note(Scan(is_full=True, started=at).with_marks(marks), at + took)


class TestFlagScans:
    def test_the_first_scan_is_full_and_begins_with_the_first_transaction(self) -> None:
        scans = FlagScans()
        assert scans.unseen_since(0, for_event=True) is None
        assert scans.standing_since == FIRST_XID

    def test_then_scans_read_what_that_did_not_see(self) -> None:
        scans = FlagScans()
        read_fully(scans, 100)
        assert scans.unseen_since(100.5, for_event=False) == MARKS.unseen
        assert scans.unseen_since(100 + FULL_SCAN_SECONDS, for_event=False) is None
        assert scans.standing_since == MARKS.standing

    def test_an_event_does_not_wait_for_a_full_scan_however_long_ago_the_last_one_was(self) -> None:
        scans = FlagScans()
        read_fully(scans, 100)
        assert scans.unseen_since(5000, for_event=True) == MARKS.unseen
        scans.note(Scan(flags_since=MARKS.unseen, started=5000), 5000.01)
        assert scans.next_full == 5000 + FULL_SCAN_SECONDS

    def test_incremental_scans_leave_a_full_one_owed_and_do_not_put_it_off(self) -> None:
        scans = FlagScans()
        read_fully(scans, 100)
        assert scans.next_full == math.inf, "an idle process reads nothing"
        for at in (100.3, 100.9):
            scans.note(Scan(flags_since=MARKS.unseen, started=at), at + 0.1)
            assert scans.next_full == 100.3 + FULL_SCAN_SECONDS
        read_fully(scans, 101.3, marks=LATER)
        assert scans.next_full == math.inf
        assert scans.unseen_since(101.4, for_event=True) == LATER.unseen

    def test_incremental_scans_do_not_move_the_place_from_which_is_read(self) -> None:
        scans = FlagScans()
        read_fully(scans, 100)
        scans.note(Scan(flags_since=MARKS.unseen, started=100.3), 100.4)
        assert scans.unseen_since(100.8, for_event=True) == MARKS.unseen

    def test_full_scans_that_take_long_are_rarer(self) -> None:
        scans = FlagScans()
        read_fully(scans, 100, took=2 * FULL_SCAN_SECONDS * FULL_SCAN_SHARE)
        assert scans.unseen_since(100 + 1.5 * FULL_SCAN_SECONDS, for_event=False) is not None
        assert scans.unseen_since(100 + 2 * FULL_SCAN_SECONDS, for_event=False) is None

    def test_after_a_restart_the_next_scan_is_full_and_begins_with_the_first_transaction(self) -> None:
        scans = FlagScans()
        read_fully(scans, 100)
        scans.restart()
        assert scans.unseen_since(100.1, for_event=True) is None
        assert scans.standing_since == FIRST_XID

    def test_a_scan_that_was_under_way_at_a_restart_does_not_count(self) -> None:
        scans = FlagScans()
        assert scans.unseen_since(100, for_event=False) is None
        scans.restart()
        scans.note(Scan(is_full=True, started=100).with_marks(MARKS), 100.1)
        assert scans.unseen_since(100.2, for_event=True) is None


def known(at: float, seconds: float | None = None) -> DueJobs:
    """All waiting jobs were read at ``at``."""
    jobs = DueJobs()
    jobs.note(jobs.reach(at), seconds, at)
    return jobs


class TestDueJobs:
    def test_the_first_claim_reads_all_and_asks(self) -> None:
        jobs = DueJobs()
        assert jobs.reach(100) is None
        assert jobs.is_unknown(None)

    def test_the_next_one_reads_what_fell_due_since_and_asks_nothing(self) -> None:
        jobs = known(100)
        reach = jobs.reach(105)
        assert reach == 5 + MARGIN_SECONDS
        assert not jobs.is_unknown(reach)

    def test_a_notify_while_the_tables_are_read_makes_the_next_claim_read_all(self) -> None:
        jobs = DueJobs()
        reach = jobs.reach(100)
        jobs.may_be_more()
        jobs.note(reach, None, 100.1)
        assert jobs.reach(100.2) is None

    def test_all_is_read_when_a_job_falls_due_and_after_a_while_in_any_case(self) -> None:
        assert known(100, 3).reach(102.9) is not None
        assert known(100, 3).reach(103) is None
        assert known(100, -5).reach(100 + SHORTEST_WAIT_SECONDS) is None
        assert known(100).reach(100 + DUE_CHECK_SECONDS) is None
        assert known(100, 3600).reach(100 + DUE_CHECK_SECONDS) is None

    def test_a_job_of_our_own_that_waits_is_asked_for_and_puts_off_nothing(self) -> None:
        jobs = known(100)
        for at in (104, 108):
            reach = jobs.reach(at)
            jobs.delayed()
            assert jobs.is_unknown(reach)
            jobs.note(reach, 300, at)
            assert not jobs.is_unknown(reach)
        assert jobs.reach(100 + DUE_CHECK_SECONDS) is None
        sooner = known(100)
        sooner.note(sooner.reach(101), 2, 101)
        assert sooner.next_due == 103


def with_marks(scan: Scan) -> Scan:
    """As the executor makes a scan."""
    return scan.with_marks(MARKS) if scan.is_full else scan


@dataclass
class Listener:
    """An executor without a database: its clock, its room, and what the tables would answer."""

    now: float = 1000.0
    room: int = ROOM
    schedule: Schedule = field(default_factory=Schedule)

    def next(self, *, outcomes: bool = False) -> Scan | None:
        self.schedule.set_sweep_interval(SWEEP_SECONDS, self.now)
        scan = self.schedule.next_scan(
            self.now, self.room, outcomes=outcomes, sweep_seconds=SWEEP_SECONDS, grace_seconds=GRACE_SECONDS
        )
        return with_marks(scan) if scan else None

    def read(self, jobs: int = 0, next_due: float | None = None, *, outcomes: bool = False) -> Scan:
        """Make the scan that is due and find so many jobs."""
        scan = self.next(outcomes=outcomes)
        assert scan is not None
        left = self.schedule.claimed(scan, jobs, self.room, BATCH, self.now)
        if left:
            self.schedule.queued(with_marks(self.schedule.queueing(scan, self.now)), self.now)
        if self.schedule.needs_next_due(scan):
            self.schedule.next_due(scan, next_due, self.now)
        return scan

    @property
    def waits(self) -> float:
        """Seconds until it reads again without an event."""
        return self.schedule.wakes_at(self.now, self.room) - self.now

    def idle(self, next_due: float | None = None) -> None:
        """Started, with nothing to do."""
        self.read(next_due=next_due)
        assert self.next() is None


def test_a_start_reads_everything_and_then_waits() -> None:
    listener = Listener()
    scan = listener.read()
    assert (scan.triggered_by, scan.flags) == (TriggeredBy.SYSTEM, True)
    assert (scan.is_full, scan.due_within_seconds) == (True, None)
    assert listener.next() is None
    assert listener.waits == DUE_CHECK_SECONDS


def test_a_notify_is_answered_at_once_with_an_incremental_scan_and_a_full_one_follows() -> None:
    listener = Listener()
    listener.idle()
    listener.now += 0.25
    listener.schedule.notified()
    assert listener.waits == 0
    scan = listener.read(1)
    assert (scan.triggered_by, scan.flags_since, scan.is_full) == (TriggeredBy.EVENT, MARKS.unseen, False)
    assert listener.schedule.full_scan_owed
    assert listener.next() is None
    assert listener.waits == FULL_SCAN_SECONDS
    listener.now += listener.waits
    scan = listener.read()
    assert (scan.triggered_by, scan.is_full) == (TriggeredBy.SYSTEM, True)
    assert not listener.schedule.full_scan_owed
    assert listener.schedule.wakes == {TriggeredBy.EVENT: 1}


def test_many_notifications_are_one_wake_and_one_that_comes_during_the_scan_is_another() -> None:
    listener = Listener()
    listener.idle()
    listener.schedule.notified()
    listener.schedule.notified()
    scan = listener.next()
    listener.schedule.notified()
    assert scan is not None
    listener.schedule.claimed(scan, 0, listener.room, BATCH, listener.now)
    assert listener.next() is not None
    assert listener.schedule.wakes == {TriggeredBy.EVENT: 2}


def test_a_claim_that_fills_the_room_is_followed_by_another_and_leaves_no_flag_without_a_job() -> None:
    listener = Listener()
    scan = listener.next()
    assert scan is not None
    assert listener.schedule.claimed(scan, ROOM, ROOM, BATCH, listener.now), "there may be more flags than room"
    queueing = with_marks(listener.schedule.queueing(scan, listener.now))
    assert (queueing.triggered_by, queueing.is_full) == (TriggeredBy.SYSTEM, True)
    listener.schedule.queued(queueing, listener.now)
    assert not listener.schedule.needs_next_due(scan)
    assert listener.waits == 0
    scan = listener.next()
    assert scan is not None
    assert scan.due_within_seconds is None, "what was queued waits"
    assert not listener.schedule.claimed(scan, ROOM, ROOM, BATCH, listener.now), "flags were queued a moment ago"


def test_without_room_a_notify_only_queues_flags() -> None:
    listener = Listener()
    listener.idle()
    listener.room = 0
    assert listener.next() is None
    listener.schedule.notified()
    scan = listener.next()
    assert scan is not None
    assert scan.triggered_by == TriggeredBy.EVENT
    listener.schedule.queued(scan, listener.now)
    assert listener.next() is None
    assert listener.waits == DUE_CHECK_SECONDS
    listener.room = 1
    listener.schedule.notified()
    assert listener.read().due_within_seconds is None, "jobs were queued that no claim has seen"


def test_a_job_that_falls_due_is_claimed_without_a_flag_scan() -> None:
    listener = Listener()
    listener.idle(next_due=3)
    assert listener.waits == 3
    listener.now += 3
    scan = listener.read()
    assert (scan.flags, scan.due_within_seconds) == (False, None)


def test_waiting_jobs_are_read_again_every_ten_seconds_whatever_is_notified() -> None:
    listener = Listener()
    listener.idle()
    began = listener.now
    while listener.now < began + DUE_CHECK_SECONDS - 1:
        listener.now += 1
        listener.schedule.notified()
        assert listener.read(1).due_within_seconds is not None
    listener.now += 1
    assert listener.read().due_within_seconds is None


def test_outcomes_are_written_with_a_claim_and_a_job_that_was_put_off_is_asked_for() -> None:
    listener = Listener()
    listener.idle()
    assert listener.next() is None
    listener.schedule.job_delayed()
    listener.read(next_due=2, outcomes=True)
    assert listener.waits <= 2


def test_the_sweep_leaves_young_flags_to_their_notify() -> None:
    listener = Listener()
    listener.idle()
    listener.now += SWEEP_SECONDS
    scan = listener.read()
    assert (scan.triggered_by, scan.min_age_seconds) == (TriggeredBy.SWEEP, GRACE_SECONDS)
    assert (scan.flags_since, scan.is_full, scan.due_within_seconds) == (FIRST_XID, False, None)
    assert listener.schedule.wakes == {TriggeredBy.SWEEP: 1}
    listener.now += 0.5
    assert listener.read(outcomes=True).is_full, "the sweep's scan left flags out: it was no full one"


def test_a_shorter_sweep_interval_counts_at_once_and_a_longer_one_after_the_next_sweep() -> None:
    listener = Listener()
    listener.idle()
    listener.schedule.set_sweep_interval(1, listener.now)
    assert listener.waits == 1
    listener.schedule.set_sweep_interval(100, listener.now)
    assert listener.waits == 1


def test_a_pause_is_followed_by_a_claim_of_everything() -> None:
    listener = Listener()
    listener.idle()
    listener.schedule.notified()
    assert listener.schedule.wakes_at(listener.now, ROOM, paused=True) == listener.now + DUE_CHECK_SECONDS
    listener.read()
    listener.schedule.paused()
    assert listener.waits == 0
    assert listener.read().due_within_seconds is None


def test_after_a_reconnect_everything_is_read_as_a_sweep_does() -> None:
    listener = Listener()
    listener.idle()
    listener.now += 0.1
    listener.schedule.reconnected()
    scan = listener.read()
    assert (scan.triggered_by, scan.min_age_seconds) == (TriggeredBy.SWEEP, 0.0)
    assert (scan.is_full, scan.due_within_seconds) == (True, None)


def test_chains_that_come_during_a_scan_are_read_by_the_next_one() -> None:
    listener = Listener()
    scan = listener.next()
    assert scan is not None
    listener.schedule.chains_changed()
    listener.schedule.claimed(scan, 0, ROOM, BATCH, listener.now)
    scan = listener.read()
    assert (scan.is_full, scan.due_within_seconds) == (True, None)


def test_a_scan_that_came_to_nothing_is_made_again() -> None:
    listener = Listener()
    listener.idle()
    listener.schedule.notified()
    scan = listener.next()
    assert scan is not None
    listener.schedule.not_read(scan)
    again = listener.read()
    assert (again.triggered_by, again.due_within_seconds) == (TriggeredBy.EVENT, None)
    assert Scan(flags_since="7", due_within_seconds=1).unbounded() == Scan()
