"""Takes over what dead and silent workers held, in every process that may: whoever dies, the others check.

A process that is killed is missed by its session (``sql/functions/workers.sql``), one that is frozen or cut off by its
heartbeats. Several that check at once share what they find (SKIP LOCKED), and each job has its lease behind all of it.
"""

import random
from collections import Counter

from loguru import logger

from pipeline.db.rows import fetch, fetch_values
from pipeline.workers.process import Process
from pipeline.workers.watchdog import Watchdog

CHECK_SECONDS = 2.5
"""Between two checks, at most. A killed process is found by the second one, at least 5 s after the first missed it."""
STALE_SECONDS = 60.0
"""A worker is silent after two heartbeats that did not come."""
OLDER_SECONDS = 60.0
"""A job that moved within this time is not touched for a silence, even if its worker's row was just deleted by hand."""


class Rescue:
    """The checks of one process."""

    def __init__(self, process: Process, check_seconds: float = CHECK_SECONDS) -> None:
        self.counts: Counter[str] = Counter()
        """What this process found since the start: jobs ``rescued``, workers newly ``silent``."""
        self._process = process
        self._watchdog = Watchdog(process)
        self._check_seconds = check_seconds

    async def keep_checking(self) -> None:
        """Check until told to stop: raises Stopped."""
        while True:
            await self._process.persist("checking for dead workers", self._check)
            spread = random.uniform(self._check_seconds / 2, self._check_seconds)  # noqa: S311 - spreads load, guards nothing
            await self._process.sleep(spread)

    async def _check(self) -> None:
        async with self._process.pool.connection() as connection:
            silent = await fetch_values(connection, "rescue/mark_workers", stale_seconds=STALE_SECONDS)
            rescued = await fetch(
                connection, "rescue/take_jobs", stale_seconds=STALE_SECONDS, older_seconds=OLDER_SECONDS
            )
            await self._watchdog.check(connection)
        for name in silent:
            logger.warning("worker {} is dead or silent", name)
        for job in rescued:
            logger.warning(
                "rescued {} ({}), now {}: {}", job["job_id"], job["wallet_address"], job["status"], job["reason"]
            )
        self.counts.update(rescued=len(rescued), silent=len(silent))
