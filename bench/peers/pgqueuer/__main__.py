"""PgQueuer, as its documentation runs it: its installer, its worker, its queries, on the driver that --driver names."""

import argparse
import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import psycopg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver, PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.ports.driver import Driver
from pgqueuer.queries import Queries

from bench.adapter import Action, Starts, answer, say
from bench.pacing import paced_async

ENTRYPOINT = "bench"


@contextlib.asynccontextmanager
async def driver_of(options: argparse.Namespace, *, pool: bool = False) -> AsyncIterator[Driver]:
    """psycopg: one connection, which is all that its driver takes."""
    if options.driver == "psycopg":
        async with await psycopg.AsyncConnection.connect(options.dsn, autocommit=True) as connection:
            yield PsycopgDriver(connection)
    elif pool:
        async with asyncpg.create_pool(options.dsn) as connections:
            yield AsyncpgPoolDriver(connections)
    else:
        connected = await asyncpg.connect(options.dsn)
        try:
            yield AsyncpgDriver(connected)
        finally:
            await connected.close()


async def setup(options: argparse.Namespace) -> None:
    async with driver_of(options) as driver:
        await Queries(driver).install()
    say(done=True)


async def work(options: argparse.Namespace) -> None:
    starts = Starts()
    async with driver_of(options, pool=True) as driver:
        worker = PgQueuer(driver)

        @worker.entrypoint(ENTRYPOINT)
        async def nothing(job: Job) -> None:
            starts.note(int(job.payload or b"0"))

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.shutdown.set)
        say(ready=True)
        await worker.run(dequeue_timeout=timedelta(seconds=30), batch_size=options.batch)
    say(report={"starts": starts.all})


async def pace(options: argparse.Namespace) -> None:
    async with driver_of(options) as driver:
        queries = Queries(driver)
        events = await paced_async(
            options.count, options.rate, lambda number: queries.enqueue(ENTRYPOINT, b"%d" % number)
        )
    say(report={"events": events})


async def enqueue(options: argparse.Namespace) -> None:
    """``count`` jobs, ``chunk`` in one call."""
    async with driver_of(options) as driver:
        queries = Queries(driver)
        numbers = range(1, options.count + 1)
        before = time.monotonic_ns()
        for start in range(0, options.count, options.chunk):
            payloads: list[bytes | None] = [b"%d" % number for number in numbers[start : start + options.chunk]]
            await queries.enqueue([ENTRYPOINT] * len(payloads), payloads, [0] * len(payloads))
        after = time.monotonic_ns()
    say(report={"before": before, "after": after, "rows": options.count})


async def fill(options: argparse.Namespace) -> None:
    options.chunk = options.count
    await enqueue(options)


def on_loop(action: Callable[[argparse.Namespace], Awaitable[None]]) -> Action:
    async def act(options: argparse.Namespace) -> None:
        await action(options)

    return lambda options: uvloop.run(act(options))


if __name__ == "__main__":
    actions = {"setup": setup, "work": work, "pace": pace, "fill": fill, "bulk": enqueue}
    answer(__doc__ or "", {name: on_loop(action) for name, action in actions.items()})
