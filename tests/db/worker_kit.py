"""What the tests of queue and workers share: a running worker, a handler that does as told, signals to wait for."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection, Pool, pool_of
from pipeline.queue.jobs import Done, Job, JobType, Outcome
from pipeline.queue.queue import JobQueue
from pipeline.settings import Settings
from pipeline.workers.executor import Executor
from pipeline.workers.runtime import Runtime, Worker
from tests.patience import PATIENCE
from tests.proxy import Proxy


@contextlib.asynccontextmanager
async def executor_pool(dsn: str, max_size: int = 4) -> AsyncIterator[Pool]:
    """Connections under the executors' own role."""
    async with pool_of(dsn, "test", role="pipeline_executor", max_size=max_size, index_plans=True) as pool:
        yield pool


@contextlib.asynccontextmanager
async def queue_of(dsn: str, **options: Any) -> AsyncIterator[JobQueue]:
    """A queue as a registered worker sees it."""
    async with executor_pool(dsn) as pool:
        yield JobQueue(pool, uuid4(), **options)


@contextlib.asynccontextmanager
async def running(worker: Worker, dsn: str, *, lossy: bool = False, **options: Any) -> AsyncIterator[Runtime]:
    """``worker`` alive and ready; stopped in order at the end."""
    runtime = Runtime(Settings(database_url=dsn, lossy_notify=lossy), worker, **{"grace_seconds": 1.0, **options})
    life = asyncio.create_task(runtime.run())
    ready = asyncio.create_task(runtime.ready.wait())
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({life, ready}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            if isinstance(worker, Executor) and not runtime.paused:
                await worker.scanned.wait()
        yield runtime
    finally:
        runtime.stop()
        ready.cancel()
        await life


async def heartbeat(runtime: Runtime) -> None:
    """A heartbeat that begins from now on, at once. Two, because one may be under way already."""
    for _ in range(2):
        async with runtime.beaten, asyncio.timeout(PATIENCE):
            before = runtime.heartbeats
            runtime.beat()
            await runtime.beaten.wait_for(lambda before=before: runtime.heartbeats > before)


class Script:
    """A handler that records what it gets and answers as told; every step can be waited for."""

    def __init__(self, *, answer: Callable[[Job], Outcome | Awaitable[Outcome]] | None = None) -> None:
        self.answer = answer or (lambda _: Done(clear_flag=True))
        self.started: list[Job] = []
        self.running: set[int] = set()
        self.overlaps: list[int] = []
        """Wallets whose job ran twice at once."""
        self.written: list[tuple[Job, Outcome, bool]] = []
        self._changed = asyncio.Condition()

    async def handle(self, jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
        for job in jobs:
            if job.wallet_id in self.running:
                self.overlaps.append(job.wallet_id)
            self.running.add(job.wallet_id)
            self.started.append(job)
            await self._tell()
            try:
                answer = self.answer(job)
                outcome = await answer if isinstance(answer, Awaitable) else answer
            finally:
                self.running.discard(job.wallet_id)
            yield job, outcome

    def observe(self, job: Job, outcome: Outcome, ours: bool) -> None:
        self.written.append((job, outcome, ours))
        asyncio.get_running_loop().create_task(self._tell())

    async def until_started(self, count: int) -> None:
        await self._until(lambda: len(self.started) >= count)

    async def until_written(self, count: int) -> None:
        await self._until(lambda: len(self.written) >= count)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def executor(script: Script, job_type: JobType = JobType.GAS_TOPUP, **options: Any) -> Executor:
    return Executor(job_type, script.handle, observer=script.observe, **options)


async def flag(connection: Connection, *wallet_ids: int, gas: bool | None = True, tokens: bool | None = None) -> None:
    """Set flags by hand, as an operator does."""
    await connection.execute(
        """
        UPDATE wallets SET needs_gas = coalesce(%s, needs_gas), needs_consolidation = coalesce(%s, needs_consolidation)
        WHERE id = ANY (%s)
        """,
        [gas, tokens, list(wallet_ids)],
    )


async def configure(connection: Connection, **values: Any) -> None:
    """Rows of system_config; ``__`` stands for the dot."""
    for key, value in values.items():
        await connection.execute(
            """
            INSERT INTO system_config (key, value) VALUES (%s, %s)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value
            """,
            [key.replace("__", "."), Jsonb(value)],
        )


async def rows(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def jobs(connection: Connection, **where: Any) -> list[dict[str, Any]]:
    """Rows of job_logs in order of arrival, filtered by equality."""
    found = await rows(connection, "SELECT * FROM job_logs WHERE NOT data ? 'queue_summary' ORDER BY seq")
    return [row for row in found if all(row[key] == value for key, value in where.items())]


async def until_count(connection: Connection, query: str, count: int) -> None:
    """Wait until the single number that ``query`` gives reaches ``count``: for what no signal tells of."""
    async with asyncio.timeout(PATIENCE):
        while next(iter((await rows(connection, query))[0].values())) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def statuses(connection: Connection) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for job in await jobs(connection):
        counts[job["status"]] += 1
    return dict(counts)


class Door(Proxy):
    """A proxy that can be shut: a server that is down."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self._shut = False

    def shut(self) -> None:
        """Drop every connection and take no new one."""
        self._shut = True
        for task in self._tasks:
            task.cancel()

    def open(self) -> None:
        """Take connections again."""
        self._shut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.close()
        else:
            await super()._serve(reader, writer)
