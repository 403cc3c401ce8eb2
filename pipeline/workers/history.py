"""The history of jobs, kept by the sweep that leads: counts are folded, finished jobs move to job_history, and months
leave it (``sql/functions/job_history.sql``, ``history_months.sql``, ``job_counts.sql``).

    a turn: fold ──▶ move, page by page ──(nothing more to move)──▶ months: make ahead, drop ──▶ rest

A page is a transaction of its own; a turn takes a fifth of the time until the next one, so that a first run over
millions of jobs disturbs nobody.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from loguru import logger
from psycopg.errors import DeadlockDetected, LockNotAvailable

from pipeline.db.rows import fetch
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow

TURN_SECONDS = 10.0
"""Between two turns. Until the next one, readers add up the deltas of that time: about a thousand, 1 ms."""
WORK_SECONDS = 2.0
"""A turn moves no further page once it has taken so long."""
PAGE = 5_000
"""Jobs looked at in one statement; about 0.15 s where all of them move."""
DELTAS = 50_000
"""Folded in one turn, at most: 0.2 s."""
REST_SECONDS = 600.0
"""Between two rounds over the old jobs."""
FIRST = UUID(int=0)
"""Before every job's id: where a round begins."""


class Busy(Exception):
    """Somebody holds what is needed (a long report, recount_jobs()): the next turn tries again."""


class History:
    """The upkeep of one sweep process, made while it leads."""

    def __init__(self, runtime: Runtime) -> None:
        self.done: Counter[str] = Counter()
        """Since the start: jobs moved, months made and dropped."""
        self._runtime = runtime
        self._statements = Statements(runtime)
        self._up_to = FIRST
        self._next_round = 0.0
        self._moved_in_round = 0

    def stats(self) -> Mapping[str, int]:
        return {f"history_{name}": count for name, count in self.done.items()}

    async def turn(self) -> None:
        """Fold, and move for a while if a round is due. Raises Stopped."""
        with contextlib.suppress(TooSlow, Busy):
            await self._value("history/fold", "folding the counts of jobs", deltas=DELTAS)
        if _now() < self._next_round:
            return
        ends = _now() + WORK_SECONDS
        with contextlib.suppress(TooSlow, Busy):
            while _now() < ends and not self._runtime.stopping.is_set():
                if not await self._move_page():
                    await self._months()
                    self._end_round()
                    break

    async def _move_page(self) -> bool:
        """Move what has ended long enough ago among the next jobs; whether there are more."""
        config = self._runtime.config.history
        row = await self._row(
            "history/move",
            "moving finished jobs to job_history",
            after=self._up_to,
            jobs=PAGE,
            finished=timedelta(days=config.move_after_days),
            failed=timedelta(days=config.move_failed_after_days),
            now=datetime.now(UTC),
        )
        self._up_to = row["up_to"] or FIRST
        self.done["moved"] += row["moved"]
        self._moved_in_round += row["moved"]
        return row["up_to"] is not None

    async def _months(self) -> None:
        """Make the partitions of this month and the next, and drop what is to go."""
        now = datetime.now(UTC)
        for month in (now.date(), _next_month(now.date())):
            if await self._value("history/add_month", "making a month of job_history", day=month):
                self.done["months_made"] += 1
        for month in await self._due_months(now):
            if await self._value("history/drop_month", "dropping a month of job_history", month=month, now=now):
                self.done["months_dropped"] += 1
                logger.warning("sweep: {:%Y-%m} left job_history (history.keep_months)", month)
        with contextlib.suppress(TooSlow, Busy):
            await self._value("history/forget_leaderships", "forgetting old leases of leadership")

    async def _due_months(self, now: datetime) -> list[date]:
        rows = await self._rows("history/months", "reading the months of job_history")
        return [
            row["month"]
            for row in rows
            if row["leaves_on"] is not None and row["leaves_on"] <= now.date() and not row["waits_for_export"]
        ]

    def _end_round(self) -> None:
        if self._moved_in_round:
            logger.info("sweep: {} finished jobs moved to job_history", self._moved_in_round)
        self._moved_in_round = 0
        self._next_round = _now() + REST_SECONDS

    async def _rows(self, name: str, what: str, **parameters: Any) -> list[dict[str, Any]]:
        async def ask() -> list[dict[str, Any]]:
            try:
                async with self._runtime.pool.connection() as connection:
                    return await fetch(connection, name, **parameters)
            except (LockNotAvailable, DeadlockDetected) as error:
                raise Busy(name) from error

        return await self._statements.ask(name, what, ask)

    async def _row(self, name: str, what: str, **parameters: Any) -> dict[str, Any]:
        (row,) = await self._rows(name, what, **parameters)
        return row

    async def _value(self, name: str, what: str, **parameters: Any) -> Any:
        (only,) = (await self._row(name, what, **parameters)).values()
        return only


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _now() -> float:
    return asyncio.get_running_loop().time()
