"""Senders, and transactions of theirs that the books do not know, in the database: each method is one commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.values import BlockRef
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.reconcile.nonce_uses import UNEXPLAINED, NonceUse
from pipeline.payments.settle.booking import Accounted, Proof, account_for, count_sender, identify, lock
from pipeline.payments.settle.stuck import Nonces


@dataclass(frozen=True, slots=True)
class Doubted:
    """A sender that may have made transactions which the books do not know."""

    chain: str
    """By name."""
    sender: str
    first_nonce: int | None
    """Where its books begin; None: nobody has looked into its line yet."""
    next_nonce: int | None
    """After all that the books know."""
    unknown_below: int
    """What a node showed of it."""
    released: Nonces
    """Those that a person has vouched for (``release_sender``), since what is looked into was noticed."""
    looked_for: float
    """Seconds since somebody noticed."""
    void: tuple[int, ...]
    """Nonces that are to be filled, and may be used already."""
    filling: bool
    """Whether gaps are to use up nonces that a pool held, and have not yet."""
    filled: int
    """How many of its nonces were declared void in the last day."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Doubted":
        return cls(
            chain=row["chain"],
            sender=row["sender"],
            first_nonce=row["first_nonce"],
            next_nonce=row["next_nonce"],
            unknown_below=row["unknown_below"],
            released=Nonces.from_column(row["released"]),
            looked_for=row["looked_for"],
            void=tuple(row["void_nonces"]),
            filling=row["filling"],
            filled=row["filled"],
        )


class StrangerStore:
    """For the process that follows the chain."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def doubted(self, chain_id: int, after: str, limit: int) -> list[Doubted]:
        """Senders to be looked into, the next few after an address."""
        rows = await self._rows("payments/reconcile/doubted_senders", chain_id=chain_id, after=after, limit=limit)
        return [Doubted.from_row(row) for row in rows]

    async def audited(self, chain_id: int, after: str, limit: int) -> list[tuple[str, bool]]:
        """Senders whose count is to be compared: who pays gas (and says so), and the next few after an address."""
        rows = await self._rows("payments/reconcile/audited_senders", chain_id=chain_id, after=after, limit=limit)
        return [(row["sender"], row["pays_gas"]) for row in rows]

    async def doubt_if_unknown(self, chain_id: int, sender: str, counted: int) -> bool:
        """Have a sender looked into of whom a node showed more than the books know."""
        rows = await self._rows(
            "payments/reconcile/doubt_if_unknown", chain_id=chain_id, sender=sender, counted=counted
        )
        return bool(rows)

    async def held(self, chain_id: int) -> list[str]:
        """Alarms: senders that wait for a person."""
        return [
            f"{row['sender']} is held: {row['held']}. It is no payment of ours. Find out who has its key; then: "
            f"SELECT release_sender('{row['chain']}', '{row['sender']}')"
            for row in await self._rows("payments/reconcile/held_senders", chain_id=chain_id)
        ]

    async def known_block(self, chain_id: int, sender: str, nonce: int) -> int:
        """The height of the last known transaction below a nonce; 0: none is known."""
        rows = await self._rows("payments/reconcile/known_block", chain_id=chain_id, sender=sender, nonce=nonce)
        return int(rows[0]["block_number"]) if rows else 0

    async def introduce(self, chain_id: int, sender: str, first_nonce: int) -> None:
        """From this nonce on the books are to know all of a sender."""
        await self._rows(
            "payments/reconcile/introduce_sender", chain_id=chain_id, sender=sender, first_nonce=first_nonce
        )

    async def account_for(self, chain_id: int, use: NonceUse, read: BlockRef) -> Accounted:
        """Take what used a nonce in a final block into the books, or hold its sender."""
        async with self._pool.connection() as conn, conn.transaction():
            stranger = await identify(conn, chain_id, use)
            await lock(conn, (), stranger)
            await count_sender(conn, chain_id, Proof(use, read))
            accounted = await account_for(conn, chain_id, stranger)
            crash_here(CrashPoint.ACCOUNT_OPEN)
        crash_here(CrashPoint.ACCOUNT_AFTER)
        return accounted

    async def lose_unexplained(self, chain_id: int, sender: str, first: int, last: int, read: BlockRef) -> int:
        """Nonces were used by what no block shows, and a person has vouched for it; how many are lost now."""
        parameters = {"chain_id": chain_id, "sender": sender, "first": first, "last": last, "used_by": UNEXPLAINED}
        async with self._pool.connection() as conn, conn.transaction():
            await count_sender(conn, chain_id, Proof(NonceUse(sender, last, None), read))
            await fetch(conn, "payments/lock_sender", chain_id=chain_id, sender=sender)
            (row,) = await fetch(conn, "payments/reconcile/lose_unexplained", **parameters)
            crash_here(CrashPoint.ACCOUNT_OPEN)
        crash_here(CrashPoint.ACCOUNT_AFTER)
        return int(row["lost"])

    async def void(self, chain_id: int, sender: str, last: int) -> int:
        """Have the next nonces up to ``last`` filled; how many."""
        async with self._pool.connection() as conn, conn.transaction():
            (row,) = await fetch(conn, "payments/reconcile/void_nonces", chain_id=chain_id, sender=sender, last=last)
            crash_here(CrashPoint.VOID_OPEN)
        crash_here(CrashPoint.VOID_AFTER)
        return int(row["voided"])

    async def trust(self, chain_id: int, doubted: Doubted) -> bool:
        """The books know all that is to be seen of a sender; False: a payer has seen more meanwhile."""
        parameters = {"sender": doubted.sender, "unknown_below": doubted.unknown_below}
        return bool(await self._rows("payments/reconcile/trust_sender", chain_id=chain_id, **parameters))

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)
