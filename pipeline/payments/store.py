"""What both halves of the protocol do to payments in the database: who sends them, and who follows them."""

from typing import Any
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here


class PaymentStore:
    """Each method is one commit."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self.pool = pool

    async def reject_orphans(self, chain_id: int, wallet_id: UUID | None = None) -> list[int]:
        """Give up payments that nobody is asked to sign and whose jobs have finished; returns their ids."""
        async with self.pool.connection() as conn, conn.transaction():
            found = await fetch(conn, "payments/lock_orphans", chain_id=chain_id, wallet_id=wallet_id)
            if not found:
                return []
            rows = await fetch(conn, "payments/reject_orphans", transfer_ids=[row["id"] for row in found])
        return [row["id"] for row in rows]

    async def record_reply(self, attempt_id: int, reply: str) -> None:
        """Note a node's answer to a broadcast; it decides nothing."""
        async with self.pool.connection() as conn, conn.transaction():
            await fetch(conn, "payments/record_reply", attempt_id=attempt_id, reply=reply)
            crash_here(CrashPoint.REPLY_OPEN)
        crash_here(CrashPoint.REPLY_AFTER)
