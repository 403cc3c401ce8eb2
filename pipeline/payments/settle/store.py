"""What became of payments on the chain, as the database books it: each method is one commit.

Everybody locks in the same order, job, payment, attempt. Nothing here reads a chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.values import BlockRef, SignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.intents import LiveAttempt, signed_from_row
from pipeline.payments.settle.booking import (
    Accounted,
    Finding,
    Proof,
    account_for,
    count_sender,
    identify,
    include,
    lock,
    release_jobs,
    settle,
    settle_found,
)
from pipeline.payments.settle.stuck import Nonces, Released, Stuck
from pipeline.units import parse_raw


class CursorMoved(Exception):
    """Another confirmation worker has read on; what this one read was not booked."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """An attempt whose bytes are to be sent again."""

    attempt_id: int
    signed: SignedTransaction
    count: int
    """Sends so far, this one included."""


@dataclass(frozen=True, slots=True)
class Buried:
    """An attempt that was proved dead, or given up unsent."""

    txid: str
    transfer_id: int
    state: str
    turn: datetime | None
    """When it was buried, where it is looked up by turns; None: a short while ago."""


@dataclass(frozen=True, slots=True)
class FirstInLine:
    """A payment that its sender's others wait behind (EVM)."""

    since: datetime
    """Nothing of its sender has got into a block."""
    error_message: str | None
    """Why it could not be offered again for more."""
    replace_wanted_at: datetime | None
    """Somebody with the keys is to offer it again, and has not."""
    last_result: str | None
    """What a node said of the newest attempt."""
    attempts: int
    fee_cap: int
    """Native raw units, of the dearest attempt."""
    behind: int
    """Payments that wait."""


class SettlementStore:
    """Payments in the database, for the process that follows them on the chain."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def live(self, chain_id: int) -> list[LiveAttempt]:
        """Every attempt that may be in a block."""
        return [LiveAttempt.from_row(row) for row in await self._rows("payments/settle/live", chain_id=chain_id)]

    async def cursor(self, chain_id: int) -> BlockRef | None:
        """The final block up to which everything is booked; None before the first."""
        rows = await self._rows("payments/settle/cursor", chain_id=chain_id)
        return BlockRef(rows[0]["block_number"], rows[0]["block_id"], rows[0]["block_time"]) if rows else None

    async def advance(self, chain_id: int, start: BlockRef | None, to: BlockRef) -> None:
        """Book that no live attempt is in the blocks after ``start`` up to ``to``. Raises CursorMoved."""
        async with self._pool.connection() as conn, conn.transaction():
            await _advance(conn, chain_id, start, to)

    async def include(self, seen: Sequence[tuple[LiveAttempt, BlockRef]]) -> set[int]:
        """Mark attempts as included in the block where each was seen; the ids that moved."""
        async with self._pool.connection() as conn, conn.transaction():
            await lock(conn, [attempt for attempt, _ in seen])
            moved = await include(conn, seen)
            crash_here(CrashPoint.INCLUDE_OPEN)
        crash_here(CrashPoint.INCLUDE_AFTER)
        return moved

    async def reorg(self, attempts: Sequence[LiveAttempt]) -> set[int]:
        """Back to broadcasting, due to be sent at once: their blocks were forked away. The ids that moved."""
        async with self._pool.connection() as conn, conn.transaction():
            await lock(conn, attempts)
            rows = await fetch(conn, "payments/settle/reorg", attempt_ids=[attempt.id for attempt in attempts])
            crash_here(CrashPoint.REORG_OPEN)
        crash_here(CrashPoint.REORG_AFTER)
        return {row["id"] for row in rows}

    async def settle_block(
        self, chain_id: int, start: BlockRef | None, block: BlockRef, findings: Sequence[Finding]
    ) -> list[DictRow]:
        """Settle all payments of one final block, and the cursor with them. Raises CursorMoved: then nothing is."""
        crash_here(CrashPoint.SETTLE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            rows = await settle(conn, findings)
            await _advance(conn, chain_id, start, block)
            crash_here(CrashPoint.SETTLE_OPEN)
        crash_here(CrashPoint.SETTLE_AFTER)
        return rows

    async def settle_straggler(self, finding: Finding) -> list[DictRow]:
        """Settle one payment that was looked up by its txid; the cursor stays where it is."""
        crash_here(CrashPoint.SETTLE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            rows = await settle(conn, [finding])
            crash_here(CrashPoint.SETTLE_OPEN)
        crash_here(CrashPoint.SETTLE_AFTER)
        return rows

    async def settle_found(self, chain_id: int, payment: Sequence[LiveAttempt], proof: Proof) -> bool:
        """Settle a payment by a transaction that did it and is none of its attempts; False: it is not out any more."""
        crash_here(CrashPoint.SETTLE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            await lock(conn, payment)
            await count_sender(conn, chain_id, proof)
            rows = await settle_found(conn, payment, proof)
            crash_here(CrashPoint.SETTLE_OPEN)
        crash_here(CrashPoint.SETTLE_AFTER)
        return bool(rows)

    async def expire(
        self, chain_id: int, attempts: Sequence[LiveAttempt], reason: str, proof: Proof | None = None
    ) -> Accounted | None:
        """Book the proof that a payment is dead, by all attempts of it, and what used its nonce instead (``proof``).
        None when the proof is void: one of them is not broadcasting any more, or there is another."""
        crash_here(CrashPoint.EXPIRE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            stranger = None if proof is None else await identify(conn, chain_id, proof.user)
            await lock(conn, attempts, stranger)
            if proof is not None:
                await count_sender(conn, chain_id, proof)
            rows = await fetch(
                conn,
                "payments/settle/expire",
                attempt_ids=[attempt.id for attempt in attempts],
                reason=reason,
                used_by=None if proof is None else proof.user.txid,
            )
            accounted = Accounted(None, reason) if rows else None
            if rows:
                if stranger is not None:
                    accounted = await account_for(conn, chain_id, stranger)
                given_up = await release_jobs(conn, attempts)
                accounted = None if accounted is None else replace(accounted, given_up=tuple(given_up))
                await fetch(conn, "payments/settle/reject_gaps", transfer_ids=[row["id"] for row in rows])
            crash_here(CrashPoint.EXPIRE_OPEN)
        crash_here(CrashPoint.EXPIRE_AFTER)
        return accounted

    async def buried(self, chain_id: int, after: datetime | None) -> list[Buried]:
        """What was buried in the last minutes, and the next few that were buried ``after`` (None: the oldest)."""
        return [Buried(**row) for row in await self._rows("payments/settle/buried", chain_id=chain_id, after=after)]

    async def claim_repeats(
        self, chain_id: int, chain_time: datetime, base_seconds: float, cap_seconds: float, limit: int
    ) -> list[Repeat]:
        """Attempts that are due to be sent again, counted as sent before they are."""
        async with self._pool.connection() as conn, conn.transaction():
            rows = await fetch(
                conn,
                "payments/settle/claim_rebroadcasts",
                chain_id=chain_id,
                chain_time=chain_time,
                base_seconds=base_seconds,
                cap_seconds=cap_seconds,
                limit=limit,
            )
            crash_here(CrashPoint.REBROADCAST_OPEN)
        crash_here(CrashPoint.REBROADCAST_AFTER)
        return [Repeat(row["attempt_id"], signed_from_row(row), row["broadcast_count"]) for row in rows]

    async def want_replacement(self, transfer_ids: Sequence[int]) -> list[int]:
        """Ask those who have the keys to offer payments again for more; which were not asked for already."""
        async with self._pool.connection() as conn, conn.transaction():
            rows = await fetch(conn, "payments/settle/want_replacement", transfer_ids=list(transfer_ids))
            crash_here(CrashPoint.WANT_OPEN)
        crash_here(CrashPoint.WANT_AFTER)
        return [row["id"] for row in rows]

    async def set_aside(self, transfer_id: int, reason: str) -> None:
        """Nobody is to offer the payment again for more; it says why."""
        await self._rows("payments/send/decline_replacement", transfer_id=transfer_id, reason=reason)

    async def released(self, chain_id: int, senders: Sequence[str]) -> dict[str, Released]:
        """What a person has vouched for of senders (``release_sender``), where one has."""
        rows = await self._rows("payments/settle/released", chain_id=chain_id, senders=list(senders))
        return {row["sender"]: Released(Nonces.from_column(row["released"]), row["released_at"]) for row in rows}

    async def chain_name(self, chain_id: int) -> str:
        """As people know it."""
        rows = await self._rows("payments/settle/chain_name", chain_id=chain_id)
        return str(rows[0]["name"])

    async def first_in_line(self, transfer_id: int) -> FirstInLine | None:
        """How it stands with a payment that its sender's others wait behind; None: it is not out any more."""
        rows = await self._rows("payments/settle/first_in_line", transfer_id=transfer_id)
        return None if not rows else FirstInLine(**{**rows[0], "fee_cap": parse_raw(rows[0]["fee_cap"])})

    async def mark_stuck(self, chain_id: int, stuck: Mapping[str, Stuck]) -> None:
        """Say which senders stand still, and why."""
        await self._rows(
            "payments/settle/mark_stuck",
            chain_id=chain_id,
            senders=list(stuck),
            reasons=[one.reason for one in stuck.values()],
            unexplained=[one.unexplained.column if one.unexplained else None for one in stuck.values()],
        )

    async def clear_stuck(self, chain_id: int, moved: Sequence[str], still: Sequence[str], *, knows_all: bool) -> None:
        """Some senders move on; with ``knows_all`` all do but those that stand ``still``."""
        parameters = {"moved": list(moved), "still": list(still), "knows_all": knows_all}
        await self._rows("payments/settle/clear_stuck", chain_id=chain_id, **parameters)

    async def release_stranded(self, chain_id: int) -> int:
        """Give jobs back to the queue that wait for the chain with nothing out; how many."""
        return len(await self._rows("payments/settle/release_stranded", chain_id=chain_id))

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)


async def _advance(conn: AsyncConnection[Any], chain_id: int, start: BlockRef | None, to: BlockRef) -> None:
    rows = await fetch(
        conn,
        "payments/settle/advance_cursor",
        chain_id=chain_id,
        block_number=to.number,
        block_id=to.id,
        block_time=to.timestamp,
        expected_id=None if start is None else start.id,
    )
    if not rows:
        raise CursorMoved(f"chain {chain_id}: another confirmation worker has read on")
