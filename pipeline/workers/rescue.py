"""Takes over what dead and silent workers held, in every process that may: whoever dies, the others check.

A process that is killed is missed by its session (``sql/functions/workers.sql``), one that is frozen or cut off by its
heartbeats. Several that check at once share what they find (SKIP LOCKED), and each job has its lease behind all of it.

No index knows which jobs run, so that a check reads those that wait or run, from the oldest on. Where an old
transaction is held, the entries of all that have ended since stand before that one and are left out; where the queue is
long, the front of it is read, where the jobs that run are. Once a minute everything is read.
"""

import asyncio
import random
from collections import Counter

from loguru import logger

from pipeline.db.pool import Connection
from pipeline.db.rows import fetch, fetch_value, fetch_values
from pipeline.queue.schedule import FIRST_XID
from pipeline.workers.process import Process
from pipeline.workers.watchdog import Watchdog

CHECK_SECONDS = 2.5
"""Between two checks, at most. A killed process is found by the second one, at least 5 s after the first missed it."""
STALE_SECONDS = 60.0
"""A worker is silent after two heartbeats that did not come."""
OLDER_SECONDS = 60.0
"""A job that moved within this time is not touched for a silence, even if its worker's row was just deleted by hand."""
FULL_SECONDS = 60.0
"""Between two checks that read everything."""
FRONT = 10_000
"""Jobs that the others read at most."""


class Rescue:
    """The checks of one process."""

    def __init__(self, process: Process, check_seconds: float = CHECK_SECONDS) -> None:
        self.counts: Counter[str] = Counter()
        """What this process found since the start: jobs ``rescued``, workers newly ``silent``."""
        self._process = process
        self._watchdog = Watchdog(process)
        self._check_seconds = check_seconds
        self._entered_since = FIRST_XID
        self._next_full = 0.0

    async def keep_checking(self) -> None:
        """Check until told to stop: raises Stopped."""
        while True:
            await self._process.persist("checking for dead workers", self._check)
            spread = random.uniform(self._check_seconds / 2, self._check_seconds)  # noqa: S311 - spreads load, guards nothing
            await self._process.sleep(spread)

    async def _check(self) -> None:
        async with self._process.pool.connection() as connection:
            silent = await fetch_values(connection, "rescue/mark_workers", stale_seconds=STALE_SECONDS)
            bounds = await self._bounds(connection)
            rescued = await fetch(
                connection, "rescue/take_jobs", stale_seconds=STALE_SECONDS, older_seconds=OLDER_SECONDS, **bounds
            )
            await self._watchdog.check(connection)
        for name in silent:
            logger.warning("worker {} is dead or silent", name)
        for job in rescued:
            logger.warning(
                "rescued {} ({}), now {}: {}", job["job_id"], job["wallet_address"], job["status"], job["reason"]
            )
        self.counts.update(rescued=len(rescued), silent=len(silent))

    async def _bounds(self, connection: Connection) -> dict[str, str | int | None]:
        """Of the jobs that this check reads."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_full:
            self._next_full = now + FULL_SECONDS
            self._entered_since = FIRST_XID
            return {"entered_since": FIRST_XID, "at_most": None}
        self._entered_since = await fetch_value(connection, "rescue/oldest_entered", entered_since=self._entered_since)
        return {"entered_since": self._entered_since, "at_most": FRONT}
