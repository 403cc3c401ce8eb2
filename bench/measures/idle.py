"""What it costs to have it run while nothing happens.

First one worker process of each contestant, with its server: memory, and the time of the processors a second. Then a
whole installation of ours, every line of the Procfile as a real process beside the simulated network, with 1,000,000
wallets that nobody has moved. The server's share includes what it does by itself.
"""

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path

from bench.bench import Bench
from bench.consumption import Spent, watched
from bench.contestants import OURS, Contestant
from bench.crowd import fill, steps
from bench.result import Result
from pipeline.local.seed import Seed
from pipeline.local.stand import open_stand
from pipeline.local.tron import TRX

WALLETS = 1_000_000
WORKER_SECONDS = 15.0
INSTALLATION_SECONDS = 60.0
STARTED_WITHIN = 60.0
RULES_WALLETS = 10


async def measure(bench: Bench) -> list[Result]:
    """``idle.worker.*`` beside the peers, ``idle.installation.*`` and ``idle.sync.memory`` for ours."""
    wallets = bench.size(WALLETS, 5_000)
    bench.expect(bench.rounds * len(bench.contestants) + steps(wallets, 0) + 1)

    async def one(racer: Contestant) -> Spent:
        dsn = await bench.database(racer)
        bench.reset(racer, dsn)
        async with bench.worker(racer, dsn) as worker:
            return await watched({racer.name: worker.pid}, bench.server, bench.seconds(WORKER_SECONDS, 2.0))

    found = await bench.rounds_of(bench.contestants, one, "idle")
    installation = await idle_installation(bench, wallets)
    bench.advance("idle: the whole installation")
    processes = sorted(installation.memory)
    settings = {"wallets": wallets, "MB by process": {name: round(installation.memory[name]) for name in processes}}
    return [
        Result(
            "idle.worker.memory", "MB", {name: [sum(s.memory.values()) for s in each] for name, each in found.items()}
        ),
        Result("idle.worker.cpu", "ms/s", {name: [s.processes for s in each] for name, each in found.items()}),
        Result("idle.worker.server", "ms/s", {name: [s.server for s in each] for name, each in found.items()}),
        Result("idle.installation.memory", "MB", {OURS: [sum(installation.memory.values())]}, settings=settings),
        Result("idle.installation.cpu", "ms/s", {OURS: [installation.processes]}, settings=settings),
        Result("idle.installation.server", "ms/s", {OURS: [installation.server]}, settings=settings),
        Result("idle.sync.memory", "MB", {OURS: [installation.memory["sync"]]}, settings=settings),
    ]


async def idle_installation(bench: Bench, wallets: int) -> Spent:
    """Every line of the Procfile, after its start, over a while in which nothing happens."""
    terms = Seed(
        wallets=RULES_WALLETS,
        gas_policy="on_demand",
        sync_interval=timedelta(hours=2),
        block_time=timedelta(seconds=3),
        gas_cooldown=timedelta(minutes=10),
        gas_funds={"tron": 1_000 * TRX},
    )
    with tempfile.TemporaryDirectory(prefix="flagpost-bench-") as home:
        async with open_stand(Path(home), terms, server=bench.server.dsn, block_time=3.0, solid_lag=2) as stand:
            fill(stand.dsn, wallets, 0, bench.advance)
            await stand.start_workers()
            await asyncio.sleep(bench.seconds(20.0, 4.0))  # the first reading, and what follows a start
            stand.fleet.check()
            pids = {name.partition(".")[0]: pid for name, pid in stand.fleet.pids.items() if name.endswith(".1")}
            return await watched(pids, bench.server, bench.seconds(INSTALLATION_SECONDS, 3.0))
