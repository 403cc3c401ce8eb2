"""Claiming, finishing and enqueuing jobs, in batches. The guarantees are in the statements under sql/queries/queue."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncCursor
from psycopg.rows import DictRow, TupleRow, scalar_row, tuple_row
from psycopg.types.json import Jsonb

from pipeline.config import QueueConfig
from pipeline.db.pool import Connection, Pool, cut
from pipeline.db.rows import fetch_one, fetch_value, fetch_values
from pipeline.db.sequences import NumberTaken
from pipeline.db.statements import statement
from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Outcome, Parked, Retry, TriggeredBy
from pipeline.queue.retries import Backoff
from pipeline.queue.schedule import FIRST_XID, FlagMarks, Scan, Xid

Result = TypeVar("Result")

EVERYTHING = Scan()
NUMBERS_TRIED = 3
"""Attempts to enqueue under numbers that turn out to be taken, before it counts as a failure of the database. One is
enough where an operator called a job by a number that was not drawn yet."""


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """How one outcome is written to the job's row."""

    status: str
    error: str | None = None
    delay_seconds: float | None = None
    failed_attempts: int = 0
    data: Mapping[str, Any] | None = None
    clear_flag: bool = False


DONE = OutcomeRow("completed")
SERVED = OutcomeRow("completed", clear_flag=True)


def outcome_row(job: Job, outcome: Outcome, backoff: Backoff) -> OutcomeRow | None:
    """What to write for an attempt; None when there is nothing to write (Parked)."""
    match outcome:
        case Parked():
            return None
        case Done(data, clear_flag) if not data:
            return SERVED if clear_flag else DONE
        case Done(data, clear_flag):
            return OutcomeRow("completed", data=data, clear_flag=clear_flag)
        case Defer(seconds, reason):
            return OutcomeRow("pending", error=reason, delay_seconds=max(0.0, float(seconds)))
        case Failed(error):
            return OutcomeRow("failed", error=error, failed_attempts=1)
        case Retry(error) if job.is_last_attempt:
            return OutcomeRow("failed", error=error, failed_attempts=1)
        case Retry(error):
            delay = backoff.delay(job.retry_count + 1)
            return OutcomeRow("retrying", error=error, delay_seconds=delay, failed_attempts=1)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one round trip brought."""

    finished: frozenset[UUID]
    """Jobs whose outcome was written; the others had lost their lease."""
    claimed: list[Job]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What a flag scan added to the queue."""

    jobs: int
    after_failure: int
    """Of these, wallets that had rested since a dead letter; the others had been missed, or not reached yet."""


class JobQueue:
    """The queue as one worker sees it.

    ``worker_id`` is its incarnation in worker_registry; ``chain_ids`` None means every active chain. The configuration
    may be replaced while it runs. Connections of ``pool`` are in autocommit.
    """

    def __init__(
        self, pool: Pool, worker_id: UUID, *, chain_ids: Sequence[int] | None = None, config: QueueConfig | None = None
    ) -> None:
        self.pool = pool
        self.worker_id = worker_id
        self.chain_ids = None if chain_ids is None else list(chain_ids)
        self.config = config or QueueConfig()

    async def exchange(
        self, outcomes: Sequence[tuple[Job, Outcome]], job_type: JobType, capacity: int, scan: Scan = EVERYTHING
    ) -> Exchange:
        """Write outcomes, then claim due jobs and take flagged wallets, as far as ``scan`` reads them: one round trip,
        one transaction.

        Because the claim comes after the outcomes, a wallet whose flag is still up when its job ends gets the next
        job here.
        """
        written = self._finish_parameters(outcomes)
        wanted = self._claim_parameters(job_type, capacity, scan)
        finished, claimed = await _with_free_numbers(lambda: self._exchange(written, job_type, wanted))
        parked = frozenset(job.id for job, outcome in outcomes if isinstance(outcome, Parked))
        return Exchange(finished | parked, claimed)

    async def claim_on(self, session: Connection, job_type: JobType, capacity: int, scan: Scan) -> list[Job] | None:
        """The claim of ``exchange`` on a session that is lent. None: it came to nothing, because of a lock or of an
        error that the pool knows how to answer, and is to be made there. Raises OperationalError where the session is
        lost."""
        try:
            claiming = await self._claim(session, self._claim_parameters(job_type, capacity, scan))
            return [_job(job_type, row) for row in await claiming.fetchall()]
        except psycopg.Error as error:
            if error.sqlstate is not None and not session.closed:
                return None
            cut(session)
            raise psycopg.OperationalError(str(error)) from error

    async def _exchange(
        self, written: Mapping[str, Any] | None, job_type: JobType, wanted: Mapping[str, Any]
    ) -> tuple[frozenset[UUID], list[Job]]:
        """Ids of the jobs whose outcome was written, and the jobs that were claimed."""
        capacity = wanted["capacity"]
        async with self.pool.connection() as connection, AsyncExitStack() as stack:
            if written and capacity > 0:
                # One statement alone is a transaction as it is, and a pipeline would be a round trip more.
                await stack.enter_async_context(connection.pipeline())
            finishing = await self._finish(connection, written) if written else None
            claiming = await self._claim(connection, wanted) if capacity > 0 else None
            finished = frozenset(await finishing.fetchall()) if finishing else frozenset()
            claimed = [_job(job_type, row) for row in await claiming.fetchall()] if claiming else []
        return finished, claimed

    async def enqueue_and_claim(
        self, job_type: JobType, capacity: int, triggered_by: TriggeredBy = TriggeredBy.EVENT
    ) -> list[Job]:
        """Up to ``capacity`` jobs: due ones first, then flagged wallets without a live job."""
        return (await self.exchange((), job_type, capacity, Scan(triggered_by))).claimed

    async def claim(self, job_type: JobType, capacity: int) -> list[Job]:
        """Up to ``capacity`` due jobs; no flag is read."""
        return (await self.exchange((), job_type, capacity, Scan(flags=False))).claimed

    async def finish(self, outcomes: Sequence[tuple[Job, Outcome]]) -> frozenset[UUID]:
        """Write outcomes; the ids of the jobs that were still ours (a lost lease changes nothing)."""
        return (await self.exchange(outcomes, JobType.SYNC, 0)).finished

    async def hand_back(self, jobs: Sequence[Job]) -> frozenset[UUID]:
        """Give claimed jobs back without using up an attempt; the ids of those that were still ours."""
        leases = {"ids": [job.id for job in jobs], "leases": [job.lease for job in jobs]}
        async with self.pool.connection() as connection:
            return frozenset(await fetch_values(connection, "queue/hand_back", **leases))

    async def release_unheld(self, held: Sequence[Job]) -> frozenset[UUID]:
        """Give back what this worker claimed without hearing of it (the reply was lost): all but ``held``."""
        parameters = {"worker_id": self.worker_id, "held": [job.id for job in held]}
        async with self.pool.connection() as connection:
            return frozenset(await fetch_values(connection, "queue/release_unheld", **parameters))

    async def enqueue_flagged(self, job_type: JobType, scan: Scan, *, batch: int) -> Enqueued:
        """Queue a job for every flagged wallet without a live one that ``scan`` reads, ``batch`` per statement."""
        parameters: dict[str, Any] = {
            "job_type": job_type,
            "chain_ids": self.chain_ids,
            "triggered_by": scan.triggered_by,
            "batch": batch,
            "min_age_seconds": scan.min_age_seconds,
            "flags_since": scan.flags_since,
            "quiet_seconds": self.config.quiet_seconds,
            "max_retries": self.config.max_retries,
            "after_xid": None,
            "after_wallet_id": UUID(int=0),
        }
        jobs = after_failure = 0
        while parameters["after_wallet_id"] is not None:
            page = await _with_free_numbers(partial(self._enqueue_page, parameters))
            jobs += page["enqueued"]
            after_failure += page["after_failure"]
            parameters |= {"after_xid": page["next_xid"], "after_wallet_id": page["next_wallet_id"]}
        return Enqueued(jobs, after_failure)

    async def _enqueue_page(self, parameters: Mapping[str, Any]) -> DictRow:
        async with self.pool.connection() as connection:
            return await fetch_one(connection, "queue/enqueue_flagged", **parameters)

    async def flag_marks(self, job_type: JobType, since: Xid = FIRST_XID) -> FlagMarks:
        """Where flag scans begin, to be read before a full one; ``since`` is the ``standing`` of the marks before."""
        async with self.pool.connection() as connection:
            row = await fetch_one(connection, "queue/flag_marks", job_type=job_type, flags_since=since)
            return FlagMarks(**row)

    async def next_due(self, job_type: JobType) -> float | None:
        """Seconds until the next waiting job is due; 0 or less if one is due now, None if none waits."""
        async with self.pool.connection() as connection:
            seconds: float | None = await fetch_value(
                connection, "queue/next_due", job_type=job_type, chain_ids=self.chain_ids
            )
            return seconds

    def _claim_parameters(self, job_type: JobType, capacity: int, scan: Scan) -> dict[str, Any]:
        return {
            "job_type": job_type,
            "chain_ids": self.chain_ids,
            "capacity": capacity,
            "worker_id": self.worker_id,
            "deadline_seconds": self.config.deadline_seconds,
            "triggered_by": scan.triggered_by,
            "batch": self.config.enqueue_batch if scan.flags else 0,
            "min_age_seconds": scan.min_age_seconds,
            "flags_since": scan.flags_since,
            "due_within_seconds": scan.due_within_seconds,
            "quiet_seconds": self.config.quiet_seconds,
            "max_retries": self.config.max_retries,
        }

    def _finish_parameters(self, outcomes: Sequence[tuple[Job, Outcome]]) -> dict[str, Any] | None:
        """The arrays of queue/finish; None if there is nothing to write.

        Attempts that are done and have nothing to say come last, and all arrays but the first three end before them."""
        backoff = Backoff(self.config.backoff_base_seconds, self.config.backoff_cap_seconds)
        plain: list[tuple[Job, OutcomeRow]] = []
        wordy: list[tuple[Job, OutcomeRow]] = []
        for job, outcome in outcomes:
            written = outcome_row(job, outcome, backoff)
            if written is not None:
                (plain if written is SERVED or written is DONE else wordy).append((job, written))
        rows = wordy + plain
        if not rows:
            return None
        return {
            "ids": _array(job.id.hex for job, _ in rows),
            "leases": _array(str(job.lease) for job, _ in rows),
            "clear_flags": _array("t" if written.clear_flag else "f" for _, written in rows),
            "statuses": [written.status for _, written in wordy],
            "errors": [written.error for _, written in wordy],
            "delays": [written.delay_seconds for _, written in wordy],
            "failed_attempts": [written.failed_attempts for _, written in wordy],
            "data": [Jsonb(dict(written.data or {})) for _, written in wordy],
        }

    async def _finish(self, connection: Connection, parameters: Mapping[str, Any]) -> AsyncCursor[UUID]:
        cursor = connection.cursor(row_factory=scalar_row)
        await cursor.execute(statement("queue/finish"), parameters, prepare=True)
        return cursor

    async def _claim(self, connection: Connection, parameters: Mapping[str, Any]) -> AsyncCursor[TupleRow]:
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(statement("queue/enqueue_and_claim"), parameters, prepare=True)
        return cursor


async def _with_free_numbers(action: Callable[[], Awaitable[Result]]) -> Result:
    """``action``, again where a job_id that it made of a number was taken: numbers that were drawn are not drawn again.
    Raises NumberTaken where that goes on."""
    for _ in range(NUMBERS_TRIED):
        with contextlib.suppress(NumberTaken):
            return await action()
    return await action()


def _array(values: Iterable[str]) -> str:
    """An array of what needs no quotes, as Postgres writes it: the driver would spend a microsecond on each element."""
    return "{" + ",".join(values) + "}"


def _job(job_type: JobType, row: TupleRow) -> Job:
    """A row of queue/enqueue_and_claim."""
    row_id, job_id, wallet_id, address, chain_id, lease, retry_count, max_retries, triggered_by, data, _status = row
    return Job(
        row_id, job_id, job_type, wallet_id, address, chain_id, lease, retry_count, max_retries,
        TriggeredBy(triggered_by), data,
    )  # fmt: skip
