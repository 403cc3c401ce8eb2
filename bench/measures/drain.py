"""20,000 jobs that do nothing appear in one commit: how long until the queue is empty, and at what cost?

The workers wait for them, connected and idle. Counted from the first start of a handler to the moment at which the
database has nothing left to do, everything recorded. CPU is that of the workers and of the server over the same span.
Ours twice: jobs that stand in the queue, as the peers have them, and the whole way from raised flags to lowered ones.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from bench.bench import Bench, Incomplete, until_empty
from bench.children import Child
from bench.contestants import OURS, Contestant
from bench.result import Result

JOBS = 20_000
FROM_FLAGS = f"{OURS}, from flags"
PATIENCE = 120.0
PROCESSES = (1, 2)


async def measure(bench: Bench) -> list[Result]:
    """Jobs a second with one process and with two, and CPU per job."""
    wanted = bench.size(JOBS, 1_000)
    racers = []
    for contestant in bench.contestants:
        racers.append(contestant)
        if contestant.name == OURS:
            racers.append(replace(contestant, name=FROM_FLAGS, database=contestant.database, fill=("--flags",)))

    async def one(racer: Contestant) -> dict[int, tuple[float, float]]:
        dsn = await bench.database(racer)
        figures = {}
        for processes in PROCESSES:
            bench.reset(racer, dsn)
            figures[processes] = await one_round(bench, racer, dsn, int(wanted * racer.drained_share), processes)
        return figures

    bench.expect(bench.rounds * len(racers))
    found = await bench.rounds_of(racers, one, "drain")
    settings = {"jobs": {racer.name: int(wanted * racer.drained_share) for racer in racers}}
    return [
        Result(
            f"drain.{processes}.{name}",
            unit,
            {racer: [figures[processes][place] for figures in rounds] for racer, rounds in found.items()},
            lower_is_better=name != "rate",
            settings=settings,
        )
        for place, (name, unit) in enumerate((("rate", "jobs/s"), ("cpu", "µs/job")))
        for processes in PROCESSES
    ]


async def one_round(bench: Bench, racer: Contestant, dsn: str, jobs: int, processes: int) -> tuple[float, float]:
    """Jobs a second, and µs of CPU a job."""
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(bench.worker(racer, dsn)) for _ in range(processes)]
        filling = await stack.enter_async_context(bench.started(racer, "fill", dsn, "--count", jobs))
        await filling.expect("report", PATIENCE)
        before = _cpu(bench, workers)
        await _nearly_done(workers, jobs)
        ended = await until_empty(racer, dsn, PATIENCE)
        spent = _cpu(bench, workers) - before
        reports = [await worker.stop() for worker in workers]
    starts = [at for report in reports for _, at in report["starts"]]
    if len(starts) != jobs:
        raise Incomplete(f"{racer.name} started {len(starts)} handlers for {jobs} jobs")
    return jobs / ((ended - min(starts)) / 1e9), spent / jobs * 1e6


def _cpu(bench: Bench, workers: list[Child]) -> float:
    return bench.server.cpu_seconds() + sum(worker.cpu_seconds() for worker in workers)


async def _nearly_done(workers: list[Child], jobs: int) -> None:
    """Wait until all but the last thousands are handled: asking the database sooner would cost it time."""
    handled = {worker.pid: 0 for worker in workers}

    async def follow(worker: Child) -> None:
        while True:
            handled[worker.pid] = (await worker.next_line(PATIENCE))["handled"]
            if sum(handled.values()) > jobs - 1000 * (len(workers) + 1):
                done.set()

    done = asyncio.Event()
    if jobs <= 1000 * (len(workers) + 1):
        return
    following = [asyncio.create_task(follow(worker)) for worker in workers]
    waiting = asyncio.create_task(done.wait())
    try:
        ended, _ = await asyncio.wait({waiting, *following}, return_when=asyncio.FIRST_COMPLETED)
        for task in ended - {waiting}:
            task.result()
    finally:
        for task in (waiting, *following):
            task.cancel()
        await asyncio.gather(waiting, *following, return_exceptions=True)
