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
from pipeline.payments.live import LiveAttempt


@dataclass(frozen=True, slots=True)
class FoundAttempt:
    """A live attempt found in a final block."""

    attempt: LiveAttempt
    result: TransactionResult

    @property
    def judged(self) -> list[Judged]:
        """How each of its payments ends."""
        return judge(self.attempt.payments, self.result)


@dataclass(frozen=True, slots=True)
class Ended:
    """A payment that an attempt decides."""

    attempt_id: int
    transfer_id: int
    fee: int
    """Native raw units that the transaction cost its sender, all its payments together."""
    judged: Judged


async def lock(
    conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt], superseded: Mapping[int, UUID] | None = None
) -> None:
    """The jobs; the payments too where somebody may add an attempt to one that is out, and some have no job.
    ``superseded``: further payments with their jobs."""
    others = superseded or {}
    await fetch(conn, "payments/lock_jobs", job_ids=[*_jobs(attempts), *others.values()])
    numbered = [one.id for attempt in attempts if attempt.signed.nonce is not None for one in attempt.transfers]
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


async def settle(conn: AsyncConnection[Any], findings: Sequence[FoundAttempt]) -> list[DictRow]:
    """End payments that were found in final blocks, and their jobs with them. Takes the locks."""
    attempts = [finding.attempt for finding in findings]
    await lock(conn, attempts)
    await include(conn, [(finding.attempt, finding.result.block) for finding in findings])
    rows = await end(conn, [ended for finding in findings for ended in _ended(finding)])
    await release_jobs(conn, attempts)
    return rows


def _ended(finding: FoundAttempt) -> list[Ended]:
    attempt, fee = finding.attempt, finding.result.fee
    return [
        Ended(attempt.id, transfer.id, fee, judged)
        for transfer, judged in zip(attempt.transfers, finding.judged, strict=True)
    ]


async def end(conn: AsyncConnection[Any], ended: Sequence[Ended]) -> list[DictRow]:
    """End payments of attempts that are included: all those of an attempt at once. A row for each that was not ended
    before."""
    return await fetch(
        conn,
        "payments/settle/settle",
        attempt_ids=[one.attempt_id for one in ended],
        transfer_ids=[one.transfer_id for one in ended],
        states=[one.judged.state.value for one in ended],
        fees=[one.fee for one in ended],
        errors=[one.judged.error for one in ended],
        arrived=[one.judged.arrived for one in ended],
        places=[one.judged.place for one in ended],
    )


async def release_jobs(conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt]) -> list[str]:
    """A statement of its own, because it reads what the ones before it wrote. Returns the jobs that failed for good
    because what they signed is refused, or lands in no block, again and again: each with the reason."""
    rows = await fetch(conn, "payments/settle/release_jobs", job_ids=_jobs(attempts))
    return [f"{row['job_id']}: {row['error']}" for row in rows if row["outcome"] == "given up"]


def _jobs(attempts: Sequence[LiveAttempt]) -> list[UUID]:
    return [job for attempt in attempts for job in attempt.jobs]
