"""1,000,000 wallets and 10,000,000 finished jobs: what each statement of the queue takes there and on a nearly empty
database, in turns on the same server; and again while another session holds a transaction open, after many jobs have
gone through under it, because what it might still see cannot be cleaned away.

Each figure is one call through the project's own code, on a pool as its processes have it, the median of a round's
repetitions. The flag → handler latency of a whole process stands beside it.
"""

import time

from bench.bench import Bench
from bench.contestants import OURS, ours
from bench.crowd import fill, steps
from bench.measures import latency
from bench.operations import OPERATIONS, Side, opened
from bench.result import Result

WALLETS = 1_000_000
JOBS = 10_000_000
FEW_WALLETS = 2_000
PASSED = 200_000
"""Jobs that go through while the transaction is held."""
REPETITIONS = 15
LONGEST_OPERATION = 20.0
"""Seconds in a round; what takes longer is repeated less often, once at the least."""
EVENTS = 200

EMPTY = f"{OURS}, nearly empty"
Figures = dict[str, dict[str, list[float]]]
"""By operation, then by circumstances; one figure a round."""


async def measure(bench: Bench) -> list[Result]:
    """``size.*``: large against empty. ``held.*``: large with the transaction against empty."""
    wallets, jobs, passed = bench.size(WALLETS, 20_000), bench.size(JOBS, 50_000), bench.size(PASSED, 2_000)
    contestant = ours()
    repetitions = 3 if bench.short else REPETITIONS
    bench.expect(steps(wallets, jobs) + 2 * bench.rounds + 1)
    dsns = {
        EMPTY: await bench.set_up(contestant, "bench_nearly_empty", FEW_WALLETS),
        OURS: await bench.set_up(contestant, "bench_large", 0),
    }
    try:
        fill(dsns[OURS], wallets, jobs, bench.advance)
        async with opened(dsns[EMPTY]) as empty, opened(dsns[OURS]) as large:
            sides = {EMPTY: empty, OURS: large}
            size = await rounds(bench, dsns, sides, repetitions, "at size")
            async with large.held_transaction():
                await large.pass_through(passed, wallets)
                bench.advance(f"held: {passed:,} jobs have gone through")
                held = await rounds(bench, dsns, sides, repetitions, "held")
    finally:
        bench.server.drop_database("bench_large")
    settings = {"wallets": wallets, "finished_jobs": jobs}
    return [
        *(Result(f"size.{name}", "ms", figures, settings=settings) for name, figures in size.items()),
        *(
            Result(f"held.{name}", "ms", figures, settings=settings | {"jobs_meanwhile": passed})
            for name, figures in held.items()
        ),
    ]


async def rounds(bench: Bench, dsns: dict[str, str], sides: dict[str, Side], repetitions: int, what: str) -> Figures:
    """Every operation on both sides in turns, then the whole process on both."""
    found: Figures = {}
    for _ in range(bench.rounds):
        for name, operation in OPERATIONS.items():
            times: dict[str, list[float]] = {side: [] for side in sides}
            begun = time.monotonic()
            for repetition in range(repetitions + 1):
                if repetition > 1 and time.monotonic() - begun > LONGEST_OPERATION:
                    break
                for side, place in sides.items():
                    taken = await operation(place)
                    if repetition:  # the first one warms up
                        times[side].append(taken * 1000)
            for side, taken_ms in times.items():
                median = sorted(taken_ms)[len(taken_ms) // 2]
                found.setdefault(name, {}).setdefault(side, []).append(median)
        for side, dsn in dsns.items():
            figures = await latency.one_round(bench, ours(), dsn, bench.size(EVENTS, 40))
            for percentile in ("p50", "p99"):
                key = f"latency.{percentile}"
                found.setdefault(key, {}).setdefault(side, []).append(figures[f"from_call.{percentile}"])
        bench.advance(f"{what}: a round of {len(OPERATIONS)} operations")
    return found
