"""Which processes of a host hang: one does not begin anew as it was told, or says nothing while the database answers.

    an answer ──▶ seen ──(the same in each answer for long enough)──▶ hangs
                   └──(no answer, or none for a while)──▶ forgotten: what was seen before counts for nothing

A heartbeat that cannot be written is no sign of a process that hangs, so that only an uninterrupted series of answers
counts, by the monotonic clock of this process: after an outage of the database, and after this process or the machine
stood still itself, each process has the whole time again. Heartbeats are compared with themselves alone: no clock of
the database is read, whichever server it is now.

A process that was never registered is not judged by its silence: nothing tells one that hangs from one that waits as it
should for a database which refuses it, or for its slot. It is ended where an operator tells its slot to restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pipeline.scaling.slots import Slot

HEARTBEATS_MISSED = 5
"""One that waits for a connection while all statements hang fails after 30 s, and is tried again."""


@dataclass(frozen=True, slots=True)
class HungAfter:
    """Seconds until a process counts as hung."""

    restart: float = 15.0
    """From a command to restart. A worker hears of it within 2 s, hands back and is gone 10 s later at the most."""
    silent: float = 60.0
    """Since its last heartbeat, or five heartbeats where that is more. Others have taken over what it held by then."""
    interrupted: float = 10.0
    """Between two answers of the database, beyond which those before count for nothing; it is asked every 2 s."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process as it was started."""

    pid: int
    generation: int
    """Of its slot then."""
    former: UUID | None
    """The incarnation that its slot had then: of the process before, which may have had the same pid."""


@dataclass(slots=True)
class _Sight:
    heartbeat: datetime | None
    same_since: float
    told_since: float | None = None


class HungProcesses:
    """What one agent has seen of its processes."""

    def __init__(self, after: HungAfter) -> None:
        self._after = after
        self._answered_at: float | None = None
        self._sights: dict[Started, _Sight] = {}

    def answered(self, now: float) -> None:
        """The database has answered just now, by a monotonic clock."""
        if self._answered_at is None or now - self._answered_at > self._after.interrupted:
            self._sights.clear()
        self._answered_at = now

    def interrupted(self) -> None:
        """The database did not answer."""
        self._answered_at = None
        self._sights.clear()

    def find(
        self, processes: Mapping[str, Started], slots: Mapping[str, Slot], heartbeat_seconds: float
    ) -> Mapping[str, str]:
        """Why a process hangs, by its slot, as of the last answer. ``processes``: those that are not ending, by slot;
        ``slots``: that answer."""
        now = self._answered_at
        if now is None:
            return {}
        silent = max(self._after.silent, HEARTBEATS_MISSED * heartbeat_seconds)
        sights, self._sights = self._sights, {}
        found: dict[str, str] = {}
        for name, process in processes.items():
            slot = slots.get(name)
            if slot is None:
                continue
            registered = slot.pid == process.pid and slot.incarnation != process.former
            sight = sights.get(process)
            if sight is None or sight.heartbeat != slot.heartbeat or slot.locked:
                sight = _Sight(slot.heartbeat, now, None if sight is None else sight.told_since)
            obeyed = slot.observed if registered else process.generation
            if obeyed is None or slot.restart_generation <= obeyed:
                sight.told_since = None
            elif sight.told_since is None:
                sight.told_since = now
            self._sights[process] = sight
            if sight.told_since is not None and now - sight.told_since > self._after.restart:
                found[name] = f"told to restart {now - sight.told_since:.0f} s ago, it did not"
            elif registered and now - sight.same_since > silent:
                found[name] = f"no heartbeat for {now - sight.same_since:.0f} s while the database answers"
        return found
