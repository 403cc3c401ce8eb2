"""What both halves of the protocol do to payments in the database: who sends them, and who follows them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from pipeline.batches import Batches
from pipeline.db.rows import execute, fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here

_MOST_REPLIES = 200
_REPLIES_GATHER_SECONDS = 0.03
"""Nothing waits for them but the place that a payment takes in its process."""


class PaymentStore:
    """Each method is one commit."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self.pool = pool
        self._replies = Batches(self._record_replies, _MOST_REPLIES, gather_seconds=_REPLIES_GATHER_SECONDS)

    async def reject_orphans(self, chain_id: int, wallet_id: UUID | None = None) -> list[int]:
        """Give up payments that nobody is asked to sign and whose jobs have finished; returns their ids."""
        async with self.pool.connection() as conn, conn.transaction():
            found = await fetch(conn, "payments/lock_orphans", chain_id=chain_id, wallet_id=wallet_id)
            if not found:
                return []
            rows = await fetch(conn, "payments/reject_orphans", transfer_ids=[row["id"] for row in found])
        return [row["id"] for row in rows]

    async def record_reply(self, attempt_id: int, reply: str) -> None:
        """Note a node's answer to a broadcast, with others of this moment; it decides nothing."""
        await self._replies.add((attempt_id, reply))

    async def _record_replies(self, replies: Sequence[tuple[int, str]]) -> list[None]:
        last = dict(replies)
        async with self.pool.connection() as conn, conn.transaction():
            await execute(conn, "payments/record_reply", attempt_ids=list(last), replies=list(last.values()))
            crash_here(CrashPoint.REPLY_OPEN)
        crash_here(CrashPoint.REPLY_AFTER)
        return [None] * len(replies)
