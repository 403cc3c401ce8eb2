"""Looks on: how long a job that a worker held stays with nobody after that worker's death."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psycopg

from tests.chaos.crew import Crew
from tests.chaos.database import Database
from tests.chaos.psql import GONE

LOOK_SECONDS = 0.25


@dataclass(eq=False)
class Watch:
    """``async with``. Times in seconds."""

    database: Database
    crew: Crew
    orphaned: list[float] = field(default_factory=list)
    """For each attempt whose worker died: until the job was taken up again, or had ended."""
    orphaned_in_calm: list[float] = field(default_factory=list)
    """The part of it after the last blow, for those that lived then."""
    calm_since: float | None = None
    _open: dict[tuple[str, int], float] = field(default_factory=dict)
    """(job, lease) → when its worker was dead for the first time."""
    _pids: dict[str, int] = field(default_factory=dict)
    """By worker_registry.incarnation, also of rows that were deleted."""
    _looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._looking is not None
        self._looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._looking

    @property
    def ownerless(self) -> int:
        """Jobs that nobody holds now."""
        return len(self._open)

    def calm(self) -> None:
        """From now on nothing but the system itself delays a recovery."""
        self.calm_since = _now()

    async def _look_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError, psycopg.Error, *GONE):
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        rows = await self.database.eyes.ask(
            "SELECT incarnation::text AS id, pid FROM worker_registry WHERE pid IS NOT NULL"
        )
        self._pids |= {row["id"]: row["pid"] for row in rows}
        held = await self.database.eyes.ask(
            "SELECT id::text, lease, leased_by::text FROM job_logs WHERE status = 'active' AND NOT awaiting_chain"
        )
        living, now, seen = self.crew.pids, _now(), set()
        for row in held:
            pid = self._pids.get(row["leased_by"] or "")
            if pid is not None and pid not in living:
                attempt = (row["id"], row["lease"])
                seen.add(attempt)
                self._open.setdefault(attempt, self.crew.dead_since(pid) or now)
        for attempt in self._open.keys() - seen:
            since = self._open.pop(attempt)
            self.orphaned.append(now - since)
            if self.calm_since is not None:
                self.orphaned_in_calm.append(now - max(since, self.calm_since))


def _now() -> float:
    return asyncio.get_running_loop().time()
