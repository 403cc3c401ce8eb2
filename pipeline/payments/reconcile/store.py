"""Senders that are reconciled, and transactions of theirs that were missing, in the database: each method is one
commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.values import BlockRef
from pipeline.db.rows import fetch, fetch_value
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.ending import lock
from pipeline.payments.nonces import Nonces
from pipeline.payments.reconcile.nonce_uses import UNEXPLAINED, NonceUse
from pipeline.payments.reconcile.recording import NonceProof, Recorded, count_sender, identify, record


@dataclass(frozen=True, slots=True)
class UnreconciledSender:
    """A sender that may have made transactions which are not recorded in the database."""

    chain: str
    """By name."""
    sender: str
    first_nonce: int | None
    """The first that has to be recorded; None: it is not known yet where our records of it begin."""
    next_nonce: int | None
    """After all that are recorded."""
    unknown_below: int
    """What a node showed of it."""
    released: Nonces
    """Those that an operator has released (``release_sender``), since the difference was noticed."""
    seconds: float
    """Since the difference was noticed."""
    void: tuple[int, ...]
    """Nonces that are to be used up by self-transfers, and may be used already."""
    filling: bool
    """Whether self-transfers are to use up nonces that a mempool held, and have not yet."""
    filled: int
    """How many of its nonces were declared void in the last day."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "UnreconciledSender":
        return cls(
            chain=row["chain"],
            sender=row["sender"],
            first_nonce=row["first_nonce"],
            next_nonce=row["next_nonce"],
            unknown_below=row["unknown_below"],
            released=Nonces.from_column(row["released"]),
            seconds=row["looked_for"],
            void=tuple(row["void_nonces"]),
            filling=row["filling"],
            filled=row["filled"],
        )


class ReconciliationStore:
    """For the process that follows the chain."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def unreconciled(self, chain_id: int, after: str, limit: int) -> list[UnreconciledSender]:
        """Senders that are to be reconciled, the next few after an address."""
        rows = await self._rows("payments/reconcile/unreconciled_senders", chain_id=chain_id, after=after, limit=limit)
        return [UnreconciledSender.from_row(row) for row in rows]

    async def audited(self, chain_id: int, after: str, limit: int) -> list[tuple[str, bool]]:
        """Senders whose count is to be compared: who pays gas (and says so), and the next few after an address."""
        rows = await self._rows("payments/reconcile/audited_senders", chain_id=chain_id, after=after, limit=limit)
        return [(row["sender"], row["pays_gas"]) for row in rows]

    async def reconcile_if_behind(self, chain_id: int, sender: str, counted: int) -> bool:
        """Have a sender reconciled of whom a node counted more than is recorded; whether that is so."""
        parameters = {"sender": sender, "counted": counted}
        return bool(await self._rows("payments/reconcile/reconcile_if_behind", chain_id=chain_id, **parameters))

    async def frozen(self, chain_id: int) -> list[str]:
        """Alarms: senders that wait for an operator."""
        return [
            f"{row['sender']} is frozen: {row['frozen']}. It is no payment of ours. Find out who has its key; then: "
            f"flagpost senders release {row['chain']} {row['sender']}"
            for row in await self._rows("payments/reconcile/frozen_senders", chain_id=chain_id)
        ]

    async def known_block(self, chain_id: int, sender: str, nonce: int) -> int:
        """The height of the last recorded transaction below a nonce; 0: none is recorded."""
        async with self._pool.connection() as conn:
            known = await fetch_value(
                conn, "payments/reconcile/known_block", chain_id=chain_id, sender=sender, nonce=nonce
            )
        return int(known or 0)

    async def introduce(self, chain_id: int, sender: str, first_nonce: int) -> None:
        """From this nonce on all transactions of a sender have to be recorded."""
        await self._rows(
            "payments/reconcile/introduce_sender", chain_id=chain_id, sender=sender, first_nonce=first_nonce
        )

    async def record(self, chain_id: int, use: NonceUse, read: BlockRef) -> Recorded:
        """Store what used a nonce in a final block, or freeze its sender. All final blocks up to ``read`` were read."""
        async with self._pool.connection() as conn, conn.transaction():
            unrecorded = await identify(conn, chain_id, use)
            await lock(conn, (), unrecorded.superseded)
            await count_sender(conn, chain_id, NonceProof(use, read))
            recorded = await record(conn, chain_id, unrecorded)
            crash_here(CrashPoint.ACCOUNT_OPEN)
        crash_here(CrashPoint.ACCOUNT_AFTER)
        return recorded

    async def lose_unexplained(self, chain_id: int, sender: str, first: int, last: int, read: BlockRef) -> int:
        """Nonces were used by what no block shows, and an operator has released it; how many are lost now."""
        parameters = {"chain_id": chain_id, "sender": sender, "first": first, "last": last, "used_by": UNEXPLAINED}
        async with self._pool.connection() as conn, conn.transaction():
            await count_sender(conn, chain_id, NonceProof(NonceUse(sender, last, None), read))
            await fetch(conn, "payments/lock_sender", chain_id=chain_id, sender=sender)
            lost: int = await fetch_value(conn, "payments/reconcile/lose_unexplained", **parameters)
            crash_here(CrashPoint.ACCOUNT_OPEN)
        crash_here(CrashPoint.ACCOUNT_AFTER)
        return lost

    async def void(self, chain_id: int, sender: str, last: int) -> int:
        """Have the next nonces up to ``last`` used up by self-transfers; how many."""
        async with self._pool.connection() as conn, conn.transaction():
            voided: int = await fetch_value(
                conn, "payments/reconcile/void_nonces", chain_id=chain_id, sender=sender, last=last
            )
            crash_here(CrashPoint.VOID_OPEN)
        crash_here(CrashPoint.VOID_AFTER)
        return voided

    async def reconciled(self, chain_id: int, one: UnreconciledSender) -> bool:
        """All that a sender is known to have sent is recorded; False: a payer has seen more meanwhile."""
        parameters = {"sender": one.sender, "unknown_below": one.unknown_below}
        return bool(await self._rows("payments/reconcile/reconciled", chain_id=chain_id, **parameters))

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)
