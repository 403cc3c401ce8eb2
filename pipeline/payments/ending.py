"""How a payment ends in the database: the statements of a commit, each within a transaction that a store has opened.

Everybody locks in the same order: job, payment, attempt. Nothing here reads a chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from pipeline.chains.values import BlockRef, TransactionResult
from pipeline.db.rows import fetch
from pipeline.payments.effect import Judged, judge
from pipeline.payments.intents import LiveAttempt


@dataclass(frozen=True, slots=True)
class Finding:
    """A live attempt found in a final block."""

    attempt: LiveAttempt
    result: TransactionResult

    @property
    def judged(self) -> Judged:
        """How its payment ends."""
        return judge(self.attempt.payment, self.result)


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that decides its payment."""

    attempt_id: int
    fee: int
    """Native raw units that it cost its sender."""
    judged: Judged


async def lock(
    conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt], superseded: Mapping[int, UUID] | None = None
) -> None:
    """The jobs; the payments too where somebody may add an attempt to one that is out, and some have no job.
    ``superseded``: further payments with their jobs."""
    others = superseded or {}
    await fetch(conn, "payments/lock_jobs", job_ids=[*_jobs(attempts), *others.values()])
    numbered = [attempt.transfer_id for attempt in attempts if attempt.signed.nonce is not None]
    if numbered or others:
        await fetch(conn, "payments/lock_transfers", transfer_ids=[*numbered, *others])


async def include(conn: AsyncConnection[Any], seen: Sequence[tuple[LiveAttempt, BlockRef]]) -> set[int]:
    """Mark attempts as included in the block where each was seen; the ids of those that changed."""
    rows = await fetch(
        conn,
        "payments/settle/include",
        attempt_ids=[attempt.id for attempt, _ in seen],
        numbers=[block.number for _, block in seen],
        block_ids=[block.id for _, block in seen],
        times=[block.timestamp for _, block in seen],
    )
    return {row["id"] for row in rows}


async def settle(conn: AsyncConnection[Any], findings: Sequence[Finding]) -> list[DictRow]:
    """End payments that were found in final blocks, and their jobs with them. Takes the locks."""
    attempts = [finding.attempt for finding in findings]
    await lock(conn, attempts)
    await include(conn, [(finding.attempt, finding.result.block) for finding in findings])
    rows = await end(conn, [Ended(one.attempt.id, one.result.fee, one.judged) for one in findings])
    await release_jobs(conn, attempts)
    return rows


async def end(conn: AsyncConnection[Any], ended: Sequence[Ended]) -> list[DictRow]:
    """End the payments of attempts that are included. A row for each that was not ended before."""
    return await fetch(
        conn,
        "payments/settle/settle",
        attempt_ids=[one.attempt_id for one in ended],
        states=[one.judged.state.value for one in ended],
        fees=[one.fee for one in ended],
        errors=[one.judged.error for one in ended],
        arrived=[one.judged.arrived for one in ended],
    )


async def release_jobs(conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt]) -> list[str]:
    """A statement of its own, because it reads what the ones before it wrote. Returns the jobs that failed for good
    because what they signed is refused, or lands in no block, again and again: each with the reason."""
    rows = await fetch(conn, "payments/settle/release_jobs", job_ids=_jobs(attempts))
    return [f"{row['job_id']}: {row['error']}" for row in rows if row["outcome"] == "given up"]


def _jobs(attempts: Sequence[LiveAttempt]) -> list[UUID]:
    return [attempt.job for attempt in attempts if attempt.job is not None]
