"""Takes what dead and silent workers held, in every process that may: whoever dies, the others look.

A process that is killed is missed by its session (``sql/functions/workers.sql``), one that is frozen or cut off by its
heartbeats. Several that look at once share what they find (SKIP LOCKED), and the lease of each job is behind all of it.
"""

import random
from collections import Counter

from loguru import logger
from psycopg.rows import dict_row, scalar_row

from pipeline.db.statements import statement
from pipeline.workers.process import Process
from pipeline.workers.watchdog import Watchdog

LOOK_SECONDS = 2.5
"""Between two looks, at most. A killed process is found at the second one, at least 5 s after the first missed it."""
STALE_SECONDS = 60.0
"""A worker is silent after two heartbeats that did not come."""
OLDER_SECONDS = 60.0
"""A job that moved within this time is not touched for a silence, even if its worker's row was just deleted by hand."""


class Rescue:
    """The looks of one process."""

    def __init__(self, process: Process, look_seconds: float = LOOK_SECONDS) -> None:
        self.counts: Counter[str] = Counter()
        """What this process found since the start: jobs ``rescued``, workers newly ``silent``."""
        self._process = process
        self._watchdog = Watchdog(process)
        self._look_seconds = look_seconds

    async def keep_looking(self) -> None:
        """Look until told to stop: raises Stopped."""
        while True:
            await self._process.persist("looking for dead workers", self._look)
            spread = random.uniform(self._look_seconds / 2, self._look_seconds)  # noqa: S311 - spreads looks, guards nothing
            await self._process.sleep(spread)

    async def _look(self) -> None:
        async with self._process.pool.connection() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute(statement("rescue/mark_workers"), {"stale_seconds": STALE_SECONDS}, prepare=True)
            silent = await cursor.fetchall()
            rows = connection.cursor(row_factory=dict_row)
            parameters = {"stale_seconds": STALE_SECONDS, "older_seconds": OLDER_SECONDS}
            await rows.execute(statement("rescue/take_jobs"), parameters, prepare=True)
            rescued = await rows.fetchall()
            await self._watchdog.look(connection)
        for name in silent:
            logger.warning("worker {} is dead or silent", name)
        for job in rescued:
            logger.warning(
                "rescued {} ({}), now {}: {}", job["job_id"], job["wallet_address"], job["status"], job["reason"]
            )
        self.counts.update(rescued=len(rescued), silent=len(silent))
