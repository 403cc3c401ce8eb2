"""What the runner asks of a contestant, answered with the project's own processes and statements.

python -m bench.flagpost setup DSN --wallets 20000    the schema, one chain, its wallets
python -m bench.flagpost work DSN                     a process that runs jobs doing nothing, until SIGTERM
python -m bench.flagpost trace DSN                    the same, and when it was notified, asked and was answered
python -m bench.flagpost pace DSN --count 1000 --rate 50   one flag after the other, each its own commit
python -m bench.flagpost fill DSN --count 20000 [--flags]  many jobs (or flags) in one commit
python -m bench.flagpost bulk DSN --count 100000      flagged wallets into the queue, as the sweep does it
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import psutil
import psycopg
from psycopg.types.json import Jsonb

from bench.adapter import Starts, answer, say
from bench.consumption import cpu_of_tree
from bench.crowd import fill as fill_with_wallets
from bench.pacing import paced
from bench.statements import parts, text
from pipeline.db.migrate import migrate
from pipeline.db.pool import Pool, pool_of
from pipeline.log import configure_logging
from pipeline.queue.jobs import Done, Job, JobType, Outcome, TriggeredBy
from pipeline.queue.queue import JobQueue
from pipeline.queue.schedule import Scan
from pipeline.settings import Settings
from pipeline.workers.executor import Executor
from pipeline.workers.runtime import Runtime
from pipeline.workers.serve import serve


class Idler(Executor):
    """The project's executor with a handler that finds nothing to do, and the times at which it was called."""

    def __init__(self) -> None:
        super().__init__(JobType.GAS_TOPUP, self.nothing)
        self.starts = Starts()

    async def nothing(self, jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
        for job in jobs:
            self.starts.note(job.wallet_id.int & 0xFFFFFFFFFFFF)  # their number (wallets.sql)
            yield job, Done(clear_flag=True)

    async def run(self, runtime: Runtime) -> None:
        announcing = asyncio.create_task(self._announce())
        try:
            await super().run(runtime)
        finally:
            announcing.cancel()

    async def _announce(self) -> None:
        await self.scanned.wait()
        say(ready=True)


class Traced(Idler):
    """Notes when it is notified, asks for jobs and has them: times in ns of the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self.notified: list[int] = []
        self.asked: list[int] = []
        self.answered: list[int] = []

    def _flags_notified(self) -> None:
        self.notified.append(time.monotonic_ns())
        super()._flags_notified()

    async def _exchange(self, room: int, scan: Scan) -> list[Job] | None:
        before = time.monotonic_ns()
        claimed = await super()._exchange(room, scan)
        if claimed:
            self.asked.append(before)
            self.answered.append(time.monotonic_ns())
        return claimed


def setup(options: argparse.Namespace) -> None:
    asyncio.run(migrate(options.dsn))
    with psycopg.connect(options.dsn, autocommit=True) as connection:
        for part in parts("flagpost/chain"):
            connection.execute(part)
        for setting in options.set:
            key, _, value = setting.partition("=")
            connection.execute(
                "INSERT INTO system_config (key, value) VALUES (%s, %s)", [key, Jsonb(json.loads(value))]
            )
    fill_with_wallets(options.dsn, options.wallets, 0, lambda _: None)
    say(done=True)


def work(options: argparse.Namespace) -> None:
    idler = Idler()
    code = _serve(options, idler)
    say(report={"starts": idler.starts.all, "counts": idler.counts})
    sys.exit(code)


def trace(options: argparse.Namespace) -> None:
    traced = Traced()
    code = _serve(options, traced)
    stages = {"notified": traced.notified, "asked": traced.asked, "answered": traced.answered}
    say(report={"starts": traced.starts.all, **stages})
    sys.exit(code)


def _serve(options: argparse.Namespace, worker: Idler) -> int:
    settings = Settings(database_url=options.dsn)
    configure_logging(settings, "gas-topup")
    return serve(settings, worker)


def pace(options: argparse.Namespace) -> None:
    with psycopg.connect(options.dsn, autocommit=True, prepare_threshold=0) as connection:
        statement = text("flagpost/flag_one")
        events = paced(options.count, options.rate, lambda number: connection.execute(statement, {"wallet_id": number}))
    say(report={"events": events})


def fill(options: argparse.Namespace) -> None:
    with psycopg.connect(options.dsn, autocommit=True) as connection:
        before = time.monotonic_ns()
        if options.flags:
            connection.execute(text("flagpost/flag_many"), {"wallets": options.count})
        else:
            connection.execute(text("flagpost/jobs"), {"jobs": options.count})
        after = time.monotonic_ns()
    say(report={"before": before, "after": after})


def bulk(options: argparse.Namespace) -> None:
    with psycopg.connect(options.dsn, autocommit=True) as connection:
        connection.execute(text("flagpost/flag_many"), {"wallets": options.count})
        connection.execute("VACUUM (ANALYZE) wallets")
    say(report=asyncio.run(_bulk(options)))


async def _bulk(options: argparse.Namespace) -> dict[str, Any]:
    """Times in ns of the monotonic clock; CPU seconds of this process and of the server, whose processes it sees."""
    async with pool_of(options.dsn, "bench", role="pipeline_executor", index_plans=True) as pool:
        queue = JobQueue(pool, uuid4())
        await queue.next_due(JobType.GAS_TOPUP)  # connected, and it is not the first statement
        server = await _postmaster(pool)
        used, before = time.process_time() + cpu_of_tree(server), time.monotonic_ns()
        enqueued = await queue.enqueue_flagged(JobType.GAS_TOPUP, Scan(TriggeredBy.SWEEP), batch=options.chunk)
        after, used_then = time.monotonic_ns(), time.process_time() + cpu_of_tree(server)
    return {"before": before, "after": after, "rows": enqueued.jobs, "cpu": used_then - used}


async def _postmaster(pool: Pool) -> psutil.Process:
    """The process whose children are the server's."""
    async with pool.connection() as connection:
        parent = psutil.Process(connection.info.backend_pid).parent()
    if parent is None:
        raise RuntimeError("the server is on another machine")
    return parent


if __name__ == "__main__":
    answer(__doc__ or "", {"setup": setup, "work": work, "trace": trace, "pace": pace, "fill": fill, "bulk": bulk})
