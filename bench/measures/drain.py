"""20,000 jobs that do nothing appear in one commit: how long until the queue is empty, and at what cost?

The workers wait for them, connected and asleep. Counted from the first start of a handler to the moment at which the
database has nothing left to do, everything booked. CPU is that of the workers and of the server over the same span.
Ours twice: jobs that stand in the queue, as the peers have them, and the whole way from raised flags to lowered ones.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from bench.bench import Bench, until_empty
from bench.children import Child
from bench.contestants import OURS, Contestant
from bench.result import Result

NAME = "drain"
JOBS = 20_000
FROM_FLAGS = f"{OURS}, from flags"
PATIENCE = 120.0


async def measure(bench: Bench) -> list[Result]:
    """Jobs a second with one process and with two, and CPU per job."""
    wanted = 2_000 if bench.short else JOBS
    racers = []
    for contestant in bench.contestants:
        racers.append(contestant)
        if contestant.name == OURS:
            racers.append(replace(contestant, name=FROM_FLAGS, fill=("--flags",)))
    dsns = {racer.name: await bench.set_up(racer, "--wallets", wanted) for racer in racers}
    rates: dict[int, dict[str, list[float]]] = {count: {racer.name: [] for racer in racers} for count in (1, 2)}
    costs: dict[int, dict[str, list[float]]] = {count: {racer.name: [] for racer in racers} for count in (1, 2)}
    for _ in range(bench.rounds):
        for processes in (1, 2):
            for racer in racers:
                bench.reset(racer, dsns[racer.name])
                jobs = int(wanted * racer.drained_share)
                rate, cost = await one_round(bench, racer, dsns[racer.name], jobs, processes)
                rates[processes][racer.name].append(rate)
                costs[processes][racer.name].append(cost)
                bench.advance(f"drain of {racer.name}, {processes} processes")
    settings = {"jobs": {racer.name: int(wanted * racer.drained_share) for racer in racers}}
    aims = {1: "≥ 30,000 jobs/s, above every peer", 2: "≥ 45,000 jobs/s, ≥ 1.3 × one process"}
    return [
        Result(
            f"{NAME}.{processes}.rate",
            "jobs/s",
            rates[processes],
            lower_is_better=False,
            aim=aims[processes],
            settings=settings,
        )
        for processes in (1, 2)
    ] + [
        Result(
            f"{NAME}.{processes}.cpu",
            "µs/job",
            costs[processes],
            aim="≤ 0.5 × pgqueuer" if processes == 1 else None,
            settings=settings,
        )
        for processes in (1, 2)
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
        raise RuntimeError(f"{racer.name} started {len(starts)} handlers for {jobs} jobs")
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
