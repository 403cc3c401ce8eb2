"""When a listener claims, and what its claim reads. One object a process; it knows no database and reads no clock.

    waiting ──(NOTIFY)────────────────────────────────▶ claim for the event
            ──(outcomes to write, or the last claim ───▶ claim at once: there may be more
               filled all room)
            ──(incremental flag scans went before)────▶ claim with a full flag scan, a second later
            ──(a waiting job falls due)───────────────▶ claim without a flag scan
            ──(sweep interval)────────────────────────▶ claim of what no event brought: flags past the grace period
    no room ──(NOTIFY)────────────────────────────────▶ queue flagged wallets, claim nothing
    paused  ──(resumed)───────────────────────────────▶ claim at once

**Flag scans.** Every flag that rises leaves an entry in the index by which flags are read, and while any session of the
database holds an old transaction, vacuum removes none: whoever reads from the beginning walks over all of them, 0.15 µs
each. So every scan begins at a transaction. A *full* one reads every flag that is up: it begins at the oldest of them,
which is known from the full scan before (``FlagMarks.standing``). An *incremental* one reads the flags that this did
not see (``FlagMarks.unseen``): later transactions, and those that were under way then, however long they took. An event
is answered by an incremental scan. A full one follows a second later, because it finds what the other left alone: a
flag that stays up after its job, one whose wallet rested. At the start, after a lost connection (it may be another
server now, with other numbers) and where chains change, marks are unknown, and the next scan begins with the first
transaction; so does every sweep.

**Waiting jobs** (pending, retrying) are all read where that may have changed, when one falls due, and every
``DUE_CHECK_SECONDS``; in between a claim reads those that fell due since, for the same reason. Late by that is only
what no NOTIFY tells of: a row that somebody's transaction held locked, a time in the future that another process wrote.

**Polling instead of waiting.** While notifications come faster than anybody could answer them, ``db.notify_gate`` polls
every 20 ms and writers skip NOTIFY. Each of its polls arrives here as a NOTIFY would; the gate is with the LISTEN
session because its locks are.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Self

from pipeline.queue.jobs import TriggeredBy

FULL_SCAN_SECONDS = 1.0
"""Between two full flag scans."""
FULL_SCAN_SHARE = 0.05
"""Of the time, at most: where one takes long, the next one comes later."""
MARGIN_SECONDS = 1.0
"""How far a claim of waiting jobs reaches back behind the start of the last one that read all: for what was not
committed then."""
DUE_CHECK_SECONDS = 10.0
"""Longest time until all waiting jobs are read again: bounds the lateness of what no NOTIFY told of."""
SHORTEST_WAIT_SECONDS = 0.25
"""A due job that could not be claimed is locked by somebody's open transaction: no use claiming at once."""


Xid = str
"""The number of a transaction, as Postgres writes its type xid8."""
FIRST_XID: Xid = "0"
"""Before all transactions."""


@dataclass(frozen=True, slots=True)
class FlagMarks:
    """Where flag scans begin, as read before a full one (sql/queries/queue/flag_marks.sql)."""

    standing: Xid
    """No flag that is up is of an earlier transaction."""
    unseen: Xid
    """Nor is any that the full scan did not see."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one claim reads."""

    triggered_by: TriggeredBy = TriggeredBy.EVENT
    """Written to the jobs that it enqueues."""
    flags: bool = True
    """Whether flags are read, too, and not only waiting jobs."""
    min_age_seconds: float = 0.0
    """Younger flags are left alone: their NOTIFY is on its way."""
    flags_since: Xid = FIRST_XID
    """Flags of earlier transactions are left alone; of a full scan without marks, where these are looked for."""
    is_full: bool = False
    """Whether it is to read every flag that is up, for which marks are read first."""
    marks: FlagMarks | None = None
    """Of a full scan: where the next ones begin."""
    due_within_seconds: float | None = None
    """Jobs that fell due longer ago are left alone; None: none is."""
    started: float = 0.0
    """By the clock of the schedule."""

    def with_marks(self, marks: FlagMarks) -> Self:
        """The same full scan, once its marks are read."""
        return replace(self, flags_since=marks.standing, marks=marks)

    def unbounded(self) -> Self:
        """The same without a lower bound: for a second attempt, whose first one may have taken any time."""
        return replace(self, flags_since=FIRST_XID, marks=None, due_within_seconds=None)


class FlagScans:
    """Where the flag scans of one process begin. Times are those of the event loop."""

    def __init__(self) -> None:
        self._marks: FlagMarks | None = None
        self._next_full = -math.inf
        self._owed = False
        self._restarted = False

    def unseen_since(self, now: float, *, for_event: bool) -> Xid | None:
        """Where an incremental scan begins now; None: the scan is to be full."""
        if self._marks is not None and (for_event or now < self._next_full):
            return self._marks.unseen
        self._restarted = False
        return None

    @property
    def standing_since(self) -> Xid:
        """From where a full scan looks for the oldest flag."""
        return FIRST_XID if self._marks is None else self._marks.standing

    def note(self, scan: Scan, ended: float) -> None:
        """``scan`` has read every flag from where it began. One that was under way at a restart does not count."""
        if self._restarted:
            return
        if scan.marks is not None:
            self._marks = scan.marks
            self._next_full = scan.started + max(FULL_SCAN_SECONDS, (ended - scan.started) / FULL_SCAN_SHARE)
        elif not self._owed:
            self._next_full = max(self._next_full, scan.started + FULL_SCAN_SECONDS)
        self._owed = scan.marks is None

    def restart(self) -> None:
        """The next scan is full and begins with the first transaction, whatever was read before: there are new chains,
        or another server."""
        self._marks = None
        self._next_full = -math.inf
        self._restarted = True

    @property
    def next_full(self) -> float:
        """When a full scan is due because incremental ones went before; infinity: none is."""
        return self._next_full if self._owed else math.inf


class DueJobs:
    """What one process knows of waiting jobs. Times are those of the event loop."""

    def __init__(self) -> None:
        self.next_due = 0.0
        """When the next claim of waiting jobs has to be."""
        self._all_read_at = 0.0
        self._unknown = True
        self._delayed = False

    def may_be_more(self) -> None:
        """A NOTIFY came, chains changed, there was no room: the next claim reads all that wait."""
        self._unknown = True

    def delayed(self) -> None:
        """A job of our own was put off."""
        self._delayed = True

    def reach(self, now: float) -> float | None:
        """How long ago a job may have fallen due that a claim reads now, in seconds; None: all are read. To be asked
        before the tables are read, so that a NOTIFY that arrives meanwhile makes the next claim read all."""
        if not self._unknown and now < self.next_due:
            return now - self._all_read_at + MARGIN_SECONDS
        self._all_read_at, self._unknown = now, False
        return None

    def is_unknown(self, reach: float | None) -> bool:
        """Whether another job may be the next one to fall due, after a claim that reached so far."""
        return reach is None or self._delayed

    def note(self, reach: float | None, seconds: float | None, now: float) -> None:
        """The next one is due in ``seconds`` (None: none waits). Only a claim that read all puts off the next such
        one."""
        self._delayed = False
        wait = DUE_CHECK_SECONDS if seconds is None else min(max(seconds, SHORTEST_WAIT_SECONDS), DUE_CHECK_SECONDS)
        self.next_due = now + wait if reach is None else min(now + wait, self.next_due)


class Schedule:
    """Of one listener. Events go in (``notified``, ``reconnected``, …), scans come out (``next_scan``), and what became
    of each goes in again (``claimed``, ``queued``, ``not_read``). Times are those of the event loop, in seconds."""

    def __init__(self) -> None:
        self._flags = FlagScans()
        self._due = DueJobs()
        self._event: TriggeredBy | None = None
        self._more = True
        """The last claim filled all room, or there was none yet."""
        self._unqueued = True
        """There may be flags without a job that no room was left for."""
        self._next_sweep = math.inf
        """Unknown until the interval is (``set_sweep_interval``)."""
        self.wakes: Counter[TriggeredBy] = Counter()
        """Events and sweeps that were answered with a scan, since the start."""

    # -- events -----------------------------------------------------------------------------------

    def notified(self, by: TriggeredBy = TriggeredBy.EVENT) -> None:
        """Flags may have risen."""
        self._event = self._event or by

    def jobs_changed(self) -> None:
        """Jobs may have become due that were not known of."""
        self._due.may_be_more()

    def job_delayed(self) -> None:
        """A job of our own was put off, or is to be tried again."""
        self._due.delayed()

    def reconnected(self) -> None:
        """Notifications may have been missed."""
        self._event = TriggeredBy.SWEEP
        self._due.may_be_more()
        self._flags.restart()

    def chains_changed(self) -> None:
        """Other chains are served from now on: what they have is read at once."""
        self._flags.restart()
        self._due.may_be_more()
        self.notified(TriggeredBy.SYSTEM)

    def paused(self) -> None:
        """Nothing is claimed now; once that is over, there may be anything."""
        self._more = self._unqueued = True
        self._due.may_be_more()

    def set_sweep_interval(self, seconds: float, now: float) -> None:
        """The next sweep is so soon; a longer interval counts after it."""
        self._next_sweep = min(self._next_sweep, now + seconds)

    # -- what to read -----------------------------------------------------------------------------

    def next_scan(
        self, now: float, room: int, *, outcomes: bool, sweep_seconds: float, grace_seconds: float
    ) -> Scan | None:
        """What to read now; None: nothing. Without ``room`` it is for queueing alone. ``outcomes``: some are to be
        written, and the same round trip can claim."""
        if room <= 0:
            return None if self._event is None else self._scan(now, self._take_event(), jobs=False, for_event=True)
        if self._event is not None:
            self._unqueued = True
            return self._scan(now, self._take_event(), for_event=True)
        if now >= self._next_sweep:
            self._next_sweep = now + sweep_seconds
            self._unqueued = True
            self._due.may_be_more()
            self.wakes[TriggeredBy.SWEEP] += 1
            return self._scan(now, TriggeredBy.SWEEP, min_age_seconds=grace_seconds)
        if outcomes or self._more or now >= self._flags.next_full:
            return self._scan(now, TriggeredBy.SYSTEM)
        if now >= self._due.next_due:
            return self._scan(now, TriggeredBy.SYSTEM, flags=False)
        return None

    def wakes_at(self, now: float, room: int, *, paused: bool = False) -> float:
        """When ``next_scan`` may have something without another event; ``DUE_CHECK_SECONDS`` from now at the latest."""
        latest = now + DUE_CHECK_SECONDS
        if paused:
            return latest
        if self._event is not None:
            return now
        if room <= 0:
            return latest
        return min(latest, now if self._more else self._due.next_due, self._next_sweep, self._flags.next_full)

    def queueing(self, scan: Scan, now: float) -> Scan:
        """What to read to queue the flags that ``scan`` left, for the same reason."""
        return self._scan(now, scan.triggered_by, jobs=False, min_age_seconds=scan.min_age_seconds)

    def _scan(
        self,
        now: float,
        triggered_by: TriggeredBy,
        *,
        flags: bool = True,
        jobs: bool = True,
        min_age_seconds: float = 0.0,
        for_event: bool = False,
    ) -> Scan:
        scan = Scan(
            triggered_by,
            flags,
            min_age_seconds,
            due_within_seconds=self._due.reach(now) if jobs else None,
            started=now,
        )
        if not flags or min_age_seconds:
            return scan
        unseen_since = self._flags.unseen_since(now, for_event=for_event)
        if unseen_since is None:
            return replace(scan, flags_since=self._flags.standing_since, is_full=True)
        return replace(scan, flags_since=unseen_since)

    def _take_event(self) -> TriggeredBy:
        """Before the tables are read, so that a NOTIFY that arrives meanwhile makes another scan."""
        assert self._event is not None  # noqa: S101 - for the type checker
        event, self._event = self._event, None
        self.wakes[event] += 1
        return event

    # -- what became of it ------------------------------------------------------------------------

    def claimed(self, scan: Scan, jobs: int, room: int, batch: int, now: float) -> bool:
        """``scan`` claimed so many jobs of ``room``, with at most ``batch`` flags read. True: flags are left to be
        queued (``queueing``), because the sweep would count a flag without a job as a missed event."""
        self._more = jobs >= room
        if self._more:
            self._due.may_be_more()
        if scan.flags and jobs < min(room, batch):
            self._note_flags(scan, now)
        left = self._more and self._unqueued and scan.flags
        self._unqueued = self._unqueued and not scan.flags
        return left

    def not_read(self, scan: Scan) -> None:
        """``scan`` came to nothing, and is to be made again."""
        self._due.may_be_more()
        self.notified(scan.triggered_by)

    def queued(self, scan: Scan, now: float) -> None:
        """Every flag within the reach of ``scan`` has a job."""
        self._due.may_be_more()
        self._note_flags(scan, now)

    def needs_next_due(self, scan: Scan) -> bool:
        """Whether it has to be asked when the next waiting job is due, after a claim of ``scan``."""
        return not self._more and self._due.is_unknown(scan.due_within_seconds)

    def next_due(self, scan: Scan, seconds: float | None, now: float) -> None:
        """The answer, from now; None: no job waits."""
        self._due.note(scan.due_within_seconds, seconds, now)

    def _note_flags(self, scan: Scan, now: float) -> None:
        if not scan.min_age_seconds and (scan.marks is not None) == scan.is_full:
            self._flags.note(scan, now)

    @property
    def full_scan_owed(self) -> bool:
        """Whether incremental scans went before that a full one has to follow."""
        return self._flags.next_full < math.inf
