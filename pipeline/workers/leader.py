"""Of several processes of a type one acts and the others stand by: a lease that the one renews while it lives.

    standing by ──(lead)──▶ leading ──(renewed)──▶ leading
                                └──(close, or another one leads)──▶ standing by

The lease is a row (sql/functions/leaderships.sql): whoever is known to be dead is replaced at once, one that is frozen
or cut off once its lease is over. What must not happen twice is guarded by other rows: the lease saves the standby the
work.
"""

import asyncio
import contextlib
from uuid import UUID

from loguru import logger

from pipeline.db.errors import DATABASE_GONE
from pipeline.db.pool import Pool, cut_after
from pipeline.db.rows import fetch_value

ANSWER_SECONDS = 5.0
"""A database that does not answer for so long is gone."""
GIVING_UP_SECONDS = 2.0
"""The same for who ends: the lease ends by itself."""
LEASE_SECONDS = 30.0
"""How long a leader that is frozen, or cut off from the database, keeps others waiting."""
LONGEST_WORK_SECONDS = 300.0
"""The lease is renewed so long without a question from the worker: one that hangs has to let another one lead."""


class Leader:
    """Leadership under ``name`` for one worker. ``leads()`` before each piece of work, and at least every
    ``LONGEST_WORK_SECONDS``; ``close()`` lets another one lead."""

    def __init__(self, pool: Pool, worker_id: UUID, name: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        """``name`` is ``sweep``, or a type of worker and the name of a chain: ``confirmations tron``."""
        self.name = name
        self.lease: int | None = None
        """The number of the lease under which this process leads; None: it stands by, as far as it knows."""
        self._pool = pool
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._asked_at = 0.0
        self._renewing: asyncio.Task[None] | None = None

    async def leads(self) -> bool:
        """Whether this process leads now. Raises one of ``DATABASE_GONE`` when the database does not answer."""
        self._asked_at = _now()
        await self._lead()
        if self.lease is not None and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.create_task(self._renew(), name=f"lease of {self.name}")
        return self.lease is not None

    async def close(self) -> None:
        """Give the leadership up. Safe to call twice; where the database is away, the lease ends by itself."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        lease, self.lease = self.lease, None
        if lease is not None:
            with contextlib.suppress(*DATABASE_GONE):
                await self._ask("leader/stop_leading", GIVING_UP_SECONDS)

    async def _renew(self) -> None:
        """Keep the lease while a piece of work takes its time, and between two of them."""
        while self.lease is not None:
            await asyncio.sleep(self._lease_seconds / 3)
            if _now() - self._asked_at > LONGEST_WORK_SECONDS:
                logger.error("{}: at the same work for {:g} s, the lease ends", self.name, LONGEST_WORK_SECONDS)
                return
            with contextlib.suppress(*DATABASE_GONE):  # the next turn tries again, and the worker asks by itself
                await self._lead()

    async def _lead(self) -> None:
        lease = await self._ask("leader/lead", ANSWER_SECONDS, length_seconds=self._lease_seconds)
        if self.lease is not None and lease != self.lease:
            logger.warning("{}: lease {} was lost", self.name, self.lease)
        self.lease = lease

    async def _ask(self, statement: str, within_seconds: float, **parameters: float) -> int | None:
        async with self._pool.connection(within_seconds) as connection:
            with cut_after(within_seconds, connection):
                lease: int | None = await fetch_value(
                    connection, statement, name=self.name, worker_id=self._worker_id, **parameters
                )
        return lease


def _now() -> float:
    return asyncio.get_running_loop().time()
