"""The second commit of payments: their bytes are kept, and their jobs handed over. Only then may anything be sent.

One transaction for all that was signed at this moment. A job whose lease was lost, or whose request somebody else has
finished, is left out, and the others go on; so are those that the database refuses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.values import SignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import FIRST, Passage, crash_here
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.refusals import StateChanged, is_outage
from pipeline.payments.send.store import lost_leases
from pipeline.queue.jobs import Job


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that answer a request."""

    request: OpenRequest
    signed: SignedTransaction


@dataclass(frozen=True, slots=True)
class Ready:
    """Signed bytes that may be sent."""

    attempt_id: int
    request: OpenRequest
    signed: SignedTransaction


@dataclass(frozen=True, slots=True, eq=False)
class HandOver:
    """What was signed of one job, or of nobody's attempt; compared and hashed by identity."""

    kept: Sequence[Kept]
    job: Job | None = None
    """It still has to hold its lease; None: whoever holds the jobs of these requests, they are taken over."""
    not_sent: Mapping[str, str] = field(default_factory=dict)
    """What the job could not pay: reasons by symbol."""


class SecondCommit:
    """Keeps what was signed."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def make(self, batch: Sequence[HandOver], passage: Passage = FIRST) -> list[list[Ready] | Exception]:
        """For each what may be sent now, or why not: LeaseLost, StateChanged (somebody else has kept or refused one of
        its requests), or what a guard refuses. Raises nothing: an outage is the answer of those that it met."""
        if not batch:
            return []
        try:
            return await self._together(batch, passage)
        except Exception as refused:
            if len(batch) == 1 or is_outage(refused):
                return [refused] * len(batch)
            middle = len(batch) // 2
            return await self.make(batch[:middle], passage) + await self.make(batch[middle:], passage)

    async def _together(self, batch: Sequence[HandOver], passage: Passage) -> list[list[Ready] | Exception]:
        answers: dict[HandOver, list[Ready] | Exception] = {}
        async with self._pool.connection() as conn, conn.transaction():
            answers |= await lost_leases(conn, {one: one.job for one in batch if one.job is not None})
            for one in batch:
                if (
                    one not in answers
                    and one.job is not None
                    and any(kept.request.job != one.job.id for kept in one.kept)
                ):
                    answers[one] = StateChanged(f"job {one.job.job_id} may hand over its own payments only")
            going = [one for one in batch if one not in answers]
            if going:
                answers |= await _keep(conn, going)
            crash_here(passage.keep_open)
        crash_here(passage.kept)
        return [answers[one] for one in batch]


async def _keep(conn: AsyncConnection[Any], going: Sequence[HandOver]) -> dict[HandOver, list[Ready]]:
    """Raises StateChanged unless all of them are kept."""
    all_kept = [kept for one in going for kept in one.kept]
    others = [kept.request.job for one in going if one.job is None for kept in one.kept if kept.request.job is not None]
    if others:
        await fetch(conn, "payments/lock_jobs", job_ids=others)
    await fetch(conn, "payments/lock_transfers", transfer_ids=[kept.request.transfer for kept in all_kept])
    own = [one for one in going if one.job is not None]
    rows = await fetch(
        conn,
        "payments/send/keep",
        request_ids=[kept.request.id for kept in all_kept],
        txids=[kept.signed.txid for kept in all_kept],
        signed_bytes=[kept.signed.raw for kept in all_kept],
        job_uuids=[one.job.id for one in own if one.job is not None],
        data=[Jsonb({"not_sent": one.not_sent} if one.not_sent else {}) for one in own],
    )
    attempts = {row["request_id"]: row["id"] for row in rows}
    if len(attempts) != len(all_kept):
        missing = ", ".join(str(kept.request.id) for kept in all_kept if kept.request.id not in attempts)
        raise StateChanged(f"requests {missing} are not open any more")
    return {one: [Ready(attempts[kept.request.id], kept.request, kept.signed) for kept in one.kept] for one in going}
