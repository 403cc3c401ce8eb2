"""What every part of a process may rely on: the pool, the will to stop, and what is wrong.

A part that is started by the runtime (``rescue``, ``watchdog``) is given this much of it and no more.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from loguru import logger

from pipeline.db.errors import DATABASE_GONE
from pipeline.db.pool import Pool
from pipeline.printable import reason
from pipeline.workers.attempts import RecentAttempts
from pipeline.workers.troubles import Troubles

Result = TypeVar("Result")

LONGEST_RETRY_SECONDS = 1.0
"""Between two attempts of a statement whose connection was lost; recovery is promised within 2 s."""


class Stopped(Exception):
    """The process was told to stop while it waited."""


class Process:
    """One process of the Procfile."""

    def __init__(self, worker_type: str, pool: Pool) -> None:
        self.pool = pool
        self.stopping = asyncio.Event()
        """Set by the first signal: take nothing new."""
        self.troubles = Troubles(self.beat)
        self.attempts = RecentAttempts()
        self._type = worker_type
        self._beat = asyncio.Event()

    def beat(self) -> None:
        """Send a heartbeat now, because there is something to show."""
        self._beat.set()

    async def persist(self, what: str, action: Callable[[], Awaitable[Result]]) -> Result:
        """``action`` until it goes through, however long the database is away. Raises Stopped when told to stop."""
        pause = 0.05
        while True:
            try:
                return await action()
            except DATABASE_GONE as error:
                logger.warning("{}: {}: {}; trying again", self._type, what, reason(error))
                await self.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load, guards nothing
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises Stopped as soon as the process is told to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        if self.stopping.is_set():
            raise Stopped
