"""What became of payments on the chain, in the database: each method is one commit.

Everybody locks in the same order, job, payment, attempt. Nothing here reads a chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.blocks.cursor import Cursor
from pipeline.chains.values import BlockRef, SignedTransaction
from pipeline.db.rows import execute, fetch, fetch_value
from pipeline.payments.blocked import Blocked
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.ending import FoundAttempt, include, lock, release_jobs, settle
from pipeline.payments.live import LiveAttempt, signed_from_row
from pipeline.payments.nonces import Nonces, Released
from pipeline.payments.reconcile.recording import (
    NonceProof,
    Recorded,
    count_sender,
    identify,
    record,
    settle_found,
)
from pipeline.units import parse_raw


@dataclass(frozen=True, slots=True)
class Repeat:
    """An attempt whose bytes are to be sent again."""

    attempt_id: int
    signed: SignedTransaction
    count: int
    """Sends so far, this one included."""


@dataclass(frozen=True, slots=True)
class ExpiredAttempt:
    """An attempt that was proved dead, or given up unsent."""

    txid: str
    transfer_id: int
    state: str
    turn: datetime | None
    """When it expired, where it is looked up by turns; None: a short while ago."""


@dataclass(frozen=True, slots=True)
class FirstInQueue:
    """A payment that its sender's others wait behind (EVM)."""

    since: datetime
    """Nothing of its sender has got into a block."""
    error_message: str | None
    """Why it could not be replaced."""
    replace_wanted_at: datetime | None
    """A replacement is requested, and not signed yet."""
    last_result: str | None
    """What a node said of the newest attempt."""
    attempts: int
    fee_cap: int
    """Native raw units, of the most expensive attempt."""
    behind: int
    """Payments that wait."""


class SettlementStore:
    """Payments in the database, for the process that follows them on the chain."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def live(self, chain_id: int) -> list[LiveAttempt]:
        """Every attempt that may be in a block."""
        return LiveAttempt.from_rows(await self._rows("payments/settle/live", chain_id=chain_id))

    async def cursor(self, chain_id: int) -> BlockRef | None:
        """The final block up to which everything is settled; None before the first."""
        async with self._pool.connection() as conn:
            return await _cursor(chain_id).read(conn)

    async def advance(self, chain_id: int, start: BlockRef | None, to: BlockRef) -> None:
        """Store that no live attempt is in the blocks after ``start`` up to ``to``. Raises CursorMoved."""
        async with self._pool.connection() as conn, conn.transaction():
            await _cursor(chain_id).advance(conn, start, to)

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
        self, chain_id: int, start: BlockRef | None, block: BlockRef, findings: Sequence[FoundAttempt]
    ) -> list[DictRow]:
        """Settle all payments of one final block, and the cursor with them. Raises CursorMoved: then nothing is."""
        crash_here(CrashPoint.SETTLE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            rows = await settle(conn, findings)
            await _cursor(chain_id).advance(conn, start, block)
            crash_here(CrashPoint.SETTLE_OPEN)
        crash_here(CrashPoint.SETTLE_AFTER)
        return rows

    async def settle_one(self, finding: FoundAttempt) -> list[DictRow]:
        """Settle one payment that was looked up by its txid; the cursor stays where it is."""
        crash_here(CrashPoint.SETTLE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            rows = await settle(conn, [finding])
            crash_here(CrashPoint.SETTLE_OPEN)
        crash_here(CrashPoint.SETTLE_AFTER)
        return rows

    async def settle_found(self, chain_id: int, attempts: Sequence[LiveAttempt], proof: NonceProof) -> bool:
        """Settle a payment by a transaction that did it and is none of its attempts; False: it is not out any more."""
        crash_here(CrashPoint.SETTLE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            await lock(conn, attempts)
            await count_sender(conn, chain_id, proof)
            rows = await settle_found(conn, attempts, proof)
            crash_here(CrashPoint.SETTLE_OPEN)
        crash_here(CrashPoint.SETTLE_AFTER)
        return bool(rows)

    async def expire(
        self, chain_id: int, attempts: Sequence[LiveAttempt], reason: str, proof: NonceProof | None = None
    ) -> Recorded | None:
        """Store the proof that a payment can never land, by all attempts of it, and what used its nonce instead
        (``proof``). None when the proof is void: one of them is not broadcasting any more, or there is another."""
        crash_here(CrashPoint.EXPIRE_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            unrecorded = None if proof is None else await identify(conn, chain_id, proof.use)
            await lock(conn, attempts, None if unrecorded is None else unrecorded.superseded)
            if proof is not None:
                await count_sender(conn, chain_id, proof)
            rows = await fetch(
                conn,
                "payments/settle/expire",
                attempt_ids=[attempt.id for attempt in attempts],
                reason=reason,
                used_by=None if proof is None else proof.use.txid,
            )
            recorded = None
            if rows:
                recorded = Recorded(None, reason) if unrecorded is None else await record(conn, chain_id, unrecorded)
                given_up = await release_jobs(conn, attempts)
                recorded = replace(recorded, given_up=tuple(given_up))
                await fetch(conn, "payments/settle/reject_gaps", transfer_ids=[row["id"] for row in rows])
            crash_here(CrashPoint.EXPIRE_OPEN)
        crash_here(CrashPoint.EXPIRE_AFTER)
        return recorded

    async def expired(self, chain_id: int, after: datetime | None) -> list[ExpiredAttempt]:
        """What expired in the last minutes, and the next few that expired ``after`` (None: the oldest)."""
        return [
            ExpiredAttempt(**row)
            for row in await self._rows("payments/settle/expired_attempts", chain_id=chain_id, after=after)
        ]

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

    async def request_replacement(self, transfer_ids: Sequence[int]) -> list[int]:
        """Request replacements of payments; for which none was requested before."""
        async with self._pool.connection() as conn, conn.transaction():
            rows = await fetch(conn, "payments/settle/request_replacement", transfer_ids=list(transfer_ids))
            crash_here(CrashPoint.WANT_OPEN)
        crash_here(CrashPoint.WANT_AFTER)
        return [row["id"] for row in rows]

    async def decline_replacement(self, attempt: LiveAttempt, reason: str) -> None:
        """Have the payments of an attempt not replaced, and store why."""
        async with self._pool.connection() as conn, conn.transaction():
            for transfer in attempt.transfers:
                await fetch(conn, "payments/send/decline_replacement", transfer_id=transfer.id, reason=reason)

    async def released(self, chain_id: int, senders: Sequence[str]) -> dict[str, Released]:
        """What an operator has released of senders (``release_sender``), where one has."""
        rows = await self._rows("payments/settle/released", chain_id=chain_id, senders=list(senders))
        return {row["sender"]: Released(Nonces.from_column(row["released"]), row["released_at"]) for row in rows}

    async def chain_name(self, chain_id: int) -> str:
        """As people know it."""
        async with self._pool.connection() as conn:
            return str(await fetch_value(conn, "payments/settle/chain_name", chain_id=chain_id))

    async def first_in_queue(self, transfer_id: int) -> FirstInQueue | None:
        """How it stands with a payment that its sender's others wait behind; None: it is not out any more."""
        rows = await self._rows("payments/settle/first_in_queue", transfer_id=transfer_id)
        return None if not rows else FirstInQueue(**{**rows[0], "fee_cap": parse_raw(rows[0]["fee_cap"])})

    async def mark_blocked(self, chain_id: int, blocked: Mapping[str, Blocked]) -> None:
        """Store which senders are blocked, and why."""
        await self._rows(
            "payments/settle/mark_blocked",
            chain_id=chain_id,
            senders=list(blocked),
            reasons=[one.reason for one in blocked.values()],
            unexplained=[one.unexplained.column if one.unexplained else None for one in blocked.values()],
        )

    async def clear_blocked(
        self, chain_id: int, cleared: Sequence[str], blocked: Sequence[str], *, knows_all: bool
    ) -> None:
        """Some senders are blocked no more; with ``knows_all`` all but those that are ``blocked``."""
        parameters = {"cleared": list(cleared), "blocked": list(blocked), "knows_all": knows_all}
        await self._rows("payments/settle/clear_blocked", chain_id=chain_id, **parameters)

    async def release_stranded(self, chain_id: int) -> int:
        """Give jobs back to the queue that wait for the chain with nothing out; how many."""
        async with self._pool.connection() as conn:
            return await execute(conn, "payments/settle/release_stranded", chain_id=chain_id)

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)


def _cursor(chain_id: int) -> Cursor:
    return Cursor(chain_id, "confirmations")
