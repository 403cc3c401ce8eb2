"""An event is committed: how long until a handler starts, on a system that has nothing else to do?

Ours is one UPDATE that raises the flag of one wallet, the peers' their own call that enqueues one job. Counted twice:
from the start of that call, and from its return, when it has committed. Another process sends them, 50 a second; after
each the worker waits again. The floor is one session that notifies and another that hears it, at the same pace.
"""

import sys

from bench.bench import Bench, Incomplete, until_empty
from bench.contestants import Contestant
from bench.result import FLOOR, Result

RATE = 50.0
EVENTS = 1000
WARM_UP = 25
"""Events that do not count: connections, caches, plans."""
PATIENCE = 30.0
"""Seconds beyond the pace."""

floor = Contestant(FLOOR, (sys.executable, "-m", "bench.floor"), "")


async def measure(bench: Bench) -> list[Result]:
    """p50 and p99 of both."""
    events = bench.size(EVENTS, 40)
    dsn = bench.server.new_database(floor.database)

    async def one(racer: Contestant) -> dict[str, float]:
        if racer is floor:
            return await one_round(bench, racer, dsn, events)
        own = await bench.database(racer)
        bench.reset(racer, own)
        return await one_round(bench, racer, own, events)

    racers = [floor, *bench.contestants]
    bench.expect(bench.rounds * len(racers))
    return results("latency", await bench.rounds_of(racers, one, "latency"), events)


async def one_round(bench: Bench, racer: Contestant, dsn: str, events: int) -> dict[str, float]:
    """One worker, one sender; percentiles in ms."""
    async with bench.worker(racer, dsn) as worker:
        within = (events + WARM_UP) / RATE + PATIENCE
        sent = await bench.ask(racer, "pace", dsn, within, "--count", events + WARM_UP, "--rate", RATE)
        if racer.sql:  # a peer that misses a NOTIFY is late, and not to be left out
            await until_empty(racer, dsn, PATIENCE)
        report = await worker.stop()
    return percentiles(sent["events"][WARM_UP:], report["starts"])


def percentiles(events: list[list[int]], starts: list[list[int]]) -> dict[str, float]:
    """``{"from_call.p50": ms, …}``. Raises Incomplete if a handler did not start."""
    started: dict[int, int] = {}
    for number, at in starts:
        started.setdefault(number, at)
    missing = [number for number, _, _ in events if number not in started]
    if missing:
        raise Incomplete(f"no handler started for {len(missing)} of {len(events)} events")
    figures = {}
    for origin, place in (("from_call", 1), ("after_commit", 2)):
        waits = sorted((started[event[0]] - event[place]) / 1e6 for event in events)
        for name, share in (("p50", 0.50), ("p99", 0.99)):
            figures[f"{origin}.{name}"] = waits[min(len(waits) - 1, int(len(waits) * share))]
    return figures


def results(name: str, found: dict[str, list[dict[str, float]]], events: int) -> list[Result]:
    """One result for each percentile."""
    keys = [f"{origin}.{percentile}" for origin in ("from_call", "after_commit") for percentile in ("p50", "p99")]
    return [
        Result(
            f"{name}.{key}",
            "ms",
            {racer: [figures[key] for figures in rounds] for racer, rounds in found.items() if racer != FLOOR},
            floor=[figures["from_call." + key.split(".")[-1]] for figures in found.get(FLOOR, ())],
            settings={"events": events, "per_second": RATE},
        )
        for key in keys
    ]
