"""The statements of the queue and the sync, one call each and timed, through the project's own code."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from bench.statements import text
from pipeline.db.pool import Connection, Pool, pool_of
from pipeline.db.statements import statement
from pipeline.queue.jobs import Done, Job, JobType, TriggeredBy
from pipeline.queue.queue import JobQueue
from pipeline.queue.schedule import FIRST_XID, FULL_SCAN_SECONDS, MARGIN_SECONDS, FlagMarks, Scan
from pipeline.workers.rescue import FRONT, STALE_SECONDS

MANY = 500
"""Jobs, wallets or balances in one call, where it is about many."""
LISTED = 30
"""Jobs that the CLI shows by default."""
BATCH = 50
"""Balances that a sync claims by default."""


@dataclass
class Side:
    """One database, and the pools of an executor and of a sync."""

    dsn: str
    admin: Connection
    executor: Pool
    sync: Pool
    queue: JobQueue
    chain_id: int
    marks: FlagMarks = field(default_factory=lambda: FlagMarks(FIRST_XID, FIRST_XID))
    """Where the flag scans of a listener begin; read by ``read_marks``."""
    entered_since: str = FIRST_XID
    """Likewise the rescue's."""

    async def read_marks(self) -> None:
        """As a listener and a sweep do before each full scan."""
        self.marks = await self.queue.flag_marks(JobType.GAS_TOPUP, self.marks.standing)

    async def flag(self, first: int, last: int) -> None:
        """Raise the flags of these wallets; nobody is timed."""
        await self.admin.execute(text("flagpost/flag_range"), {"first": first, "last": last})

    async def claim(self, capacity: int) -> list[Job]:
        """As a listener does it after a full scan within the last second, and knows of no job that waits."""
        reach = FULL_SCAN_SECONDS + MARGIN_SECONDS
        scan = Scan(flags_since=self.marks.unseen, due_within_seconds=reach)
        return (await self.queue.exchange((), JobType.GAS_TOPUP, capacity, scan)).claimed

    async def finish(self, jobs: list[Job]) -> None:
        await self.queue.finish([(job, Done(clear_flag=True)) for job in jobs])

    async def pass_through(self, jobs: int, wallets: int) -> None:
        """Flag, claim and finish so many jobs, ``MANY`` at a time."""
        for start in range(0, jobs, MANY):
            await self.read_marks()
            first = start % max(MANY, wallets - MANY) + 1
            await self.flag(first, first + MANY - 1)
            await self.finish(await self.claim(MANY))

    @asynccontextmanager
    async def held_transaction(self) -> AsyncIterator[None]:
        """Another session in the middle of a long report."""
        async with await AsyncConnection.connect(self.dsn) as reader:
            await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await reader.execute("SELECT count(*) FROM chains")
            yield
            await reader.rollback()


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Side]:
    """A side, connected as the project's processes are."""
    async with (
        await AsyncConnection.connect(dsn, autocommit=True) as admin,
        pool_of(dsn, "bench", role="pipeline_executor", index_plans=True) as executor,
        pool_of(dsn, "bench", role="pipeline_sync", index_plans=True) as sync,
    ):
        (chain_id,) = await (await admin.execute("SELECT id FROM chains WHERE name = 'bench'")).fetchone() or (0,)
        yield Side(dsn, admin, executor, sync, JobQueue(executor, uuid4()), chain_id)


async def claim_one(side: Side) -> float:
    """A flag has been raised: the job for it, enqueued and claimed in one round trip."""
    await side.read_marks()  # a listener did within the second before
    await side.flag(1, 1)
    started = time.perf_counter()
    jobs = await side.claim(MANY)
    taken = time.perf_counter() - started
    await side.finish(jobs)
    return taken


async def look(side: Side) -> float:
    """A listener's full flag scan when none is up: once a second at most, and after no NOTIFY."""
    started = time.perf_counter()
    await side.read_marks()
    scan = Scan(flags_since=side.marks.standing, due_within_seconds=FULL_SCAN_SECONDS + MARGIN_SECONDS)
    await side.queue.exchange((), JobType.GAS_TOPUP, MANY, scan)
    return time.perf_counter() - started


async def finish_one(side: Side) -> float:
    """The outcome of one job, its flag lowered."""
    await side.read_marks()
    await side.flag(2, 2)
    jobs = await side.claim(MANY)
    started = time.perf_counter()
    await side.finish(jobs)
    return time.perf_counter() - started


async def claim_many(side: Side) -> float:
    """``MANY`` jobs that wait."""
    await side.flag(1, MANY)
    await side.queue.enqueue_flagged(JobType.GAS_TOPUP, Scan(TriggeredBy.SWEEP), batch=MANY)
    started = time.perf_counter()
    jobs = await side.queue.claim(JobType.GAS_TOPUP, MANY)
    taken = time.perf_counter() - started
    await side.finish(jobs)
    return taken


async def sweep(side: Side) -> float:
    """``MANY`` flags that nobody has heard of."""
    await side.flag(1, MANY)
    started = time.perf_counter()
    await _swept(side)
    taken = time.perf_counter() - started
    await side.finish(await side.queue.claim(JobType.GAS_TOPUP, MANY))
    return taken


async def sweep_idle(side: Side) -> float:
    """The sweep when all is well."""
    started = time.perf_counter()
    await _swept(side)
    return time.perf_counter() - started


async def _swept(side: Side) -> None:
    await side.read_marks()
    scan = Scan(TriggeredBy.SWEEP, flags_since=side.marks.standing)
    await side.queue.enqueue_flagged(JobType.GAS_TOPUP, scan, batch=MANY)


async def next_due(side: Side) -> float:
    """When the next job is due."""
    started = time.perf_counter()
    await side.queue.next_due(JobType.GAS_TOPUP)
    return time.perf_counter() - started


async def rescue(side: Side) -> float:
    """A look for what the dead have left behind, when there is nothing."""
    asked, rows = await _timed(side.executor, "rescue/oldest_entered", {"entered_since": side.entered_since})
    side.entered_since = rows[0]["entered_since"]
    bounds = {"entered_since": side.entered_since, "at_most": FRONT}
    parameters = {"stale_seconds": STALE_SECONDS, "older_seconds": STALE_SECONDS, **bounds}
    return asked + (await _timed(side.executor, "rescue/take_jobs", parameters))[0]


async def counts(side: Side) -> float:
    """The jobs by type and status, all that there ever were."""
    return await _answered(side, "SELECT * FROM get_job_queue_stats()", {})


async def history(side: Side) -> float:
    """The newest jobs of one wallet, as `flagpost jobs list --wallet` asks for them."""
    (wallet,) = await (await side.admin.execute(text("flagpost/one_address"))).fetchone() or ("",)
    filters = dict.fromkeys(("job_type", "status", "triggered_by", "since", "before_created", "before_seq"))
    return await _answered(side, statement("jobs/of_wallet"), {**filters, "wallet": wallet, "limit": LISTED})


async def _answered(side: Side, question: str, parameters: Mapping[str, Any]) -> float:
    """Seconds until somebody in psql has the answer."""
    started = time.perf_counter()
    await (await side.admin.execute(question, parameters)).fetchall()
    return time.perf_counter() - started


async def balances(side: Side) -> float:
    """The sync's claim of ``BATCH`` due balances."""
    await side.admin.execute(text("flagpost/make_due"), {"first": 1, "last": BATCH // 2})
    parameters = {"batch": BATCH, "lock": f"bench:{uuid4()}", "lock_seconds": 120, "chain_id": side.chain_id}
    taken, rows = await _timed(side.sync, "sync/claim", parameters)
    await side.admin.execute(text("flagpost/release"), {"ids": [row["id"] for row in rows]})
    return taken


async def _timed(pool: Pool, name: str, parameters: Mapping[str, Any]) -> tuple[float, list[dict[str, Any]]]:
    """One call of a statement; seconds, and what it gave."""
    async with pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        started = time.perf_counter()
        await cursor.execute(statement(name), parameters, prepare=True)
        rows = await cursor.fetchall()
        return time.perf_counter() - started, rows


OPERATIONS: Mapping[str, Callable[[Side], Awaitable[float]]] = {
    "claim": claim_one,
    "look": look,
    "finish": finish_one,
    "claim_500": claim_many,
    "sweep_500": sweep,
    "sweep_idle": sweep_idle,
    "next_due": next_due,
    "rescue": rescue,
    "counts": counts,
    "history": history,
    "balances_50": balances,
}
