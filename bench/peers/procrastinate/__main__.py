"""Procrastinate, as its documentation runs it: its schema, its worker with concurrency, its calls to defer."""

import argparse
import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

import procrastinate

from bench.adapter import Action, Starts, answer, say
from bench.pacing import paced_async

starts = Starts()


def app_of(options: argparse.Namespace) -> procrastinate.App:
    """An app with one task; a connection for each job that runs, and for the listener."""
    connector = procrastinate.PsycopgConnector(conninfo=options.dsn, min_size=1, max_size=options.concurrency + 2)
    app = procrastinate.App(connector=connector)

    @app.task(name="bench")
    async def nothing(number: int) -> None:
        starts.note(number)

    return app


async def setup(options: argparse.Namespace) -> None:
    async with app_of(options).open_async() as app:
        await app.schema_manager.apply_schema_async()
    say(done=True)


async def work(options: argparse.Namespace) -> None:
    async with app_of(options).open_async() as app:
        working = asyncio.create_task(
            app.run_worker_async(concurrency=options.concurrency, install_signal_handlers=False)
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
        say(ready=True)
        await asyncio.wait({working})
        if not working.cancelled():
            working.result()
    say(report={"starts": starts.all})


async def pace(options: argparse.Namespace) -> None:
    async with app_of(options).open_async() as app:
        task = app.tasks["bench"]
        events = await paced_async(options.count, options.rate, lambda number: task.defer_async(number=number))
    say(report={"events": events})


async def enqueue(options: argparse.Namespace) -> None:
    """``count`` jobs, ``chunk`` in one call."""
    async with app_of(options).open_async() as app:
        task = app.tasks["bench"]
        numbers = range(1, options.count + 1)
        before = time.monotonic_ns()
        for start in range(0, options.count, options.chunk):
            await task.batch_defer_async(*({"number": number} for number in numbers[start : start + options.chunk]))
        after = time.monotonic_ns()
    say(report={"before": before, "after": after, "rows": options.count})


async def fill(options: argparse.Namespace) -> None:
    options.chunk = options.count
    await enqueue(options)


def on_loop(action: Callable[[argparse.Namespace], Awaitable[None]]) -> Action:
    async def act(options: argparse.Namespace) -> None:
        await action(options)

    return lambda options: asyncio.run(act(options))


if __name__ == "__main__":
    actions = {"setup": setup, "work": work, "pace": pace, "fill": fill, "bulk": enqueue}
    answer(__doc__ or "", {name: on_loop(action) for name, action in actions.items()})
