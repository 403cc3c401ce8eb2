"""An event is committed: how long until a handler starts, on a system that has nothing else to do?

Ours is one UPDATE that raises the flag of one wallet, the peers' their own call that enqueues one job. Counted twice:
from the start of that call, and from its return, when it has committed. Another process sends them, 50 a second; after
each the worker goes to sleep again. The floor is one session that rings and another that hears it, at the same pace.
"""

import sys
from typing import Any

from bench.bench import Bench
from bench.contestants import Contestant
from bench.result import FLOOR, Result

RATE = 50.0
EVENTS = 1000
WARM_UP = 25
"""Events that do not count: connections, caches, plans."""
PATIENCE = 30.0
"""Seconds beyond the pace."""

NAME = "latency"
floor = Contestant(FLOOR, (sys.executable, "-m", "bench.floor"), "")


async def measure(bench: Bench) -> list[Result]:
    """p50 and p99 of both."""
    events = 100 if bench.short else EVENTS
    racers = [floor, *bench.contestants]
    dsns = {floor.name: bench.server.new_database(floor.database)}
    for contestant in bench.contestants:
        dsns[contestant.name] = await bench.set_up(contestant, "--wallets", events + WARM_UP)
    found: dict[str, list[dict[str, float]]] = {racer.name: [] for racer in racers}
    for _ in range(bench.rounds):
        for racer in racers:
            if racer is not floor:
                bench.reset(racer, dsns[racer.name])
            found[racer.name].append(await one_round(bench, racer, dsns[racer.name], events))
            bench.advance(f"latency of {racer.name}")
    return results(NAME, found)


async def one_round(bench: Bench, racer: Contestant, dsn: str, events: int, rate: float = RATE) -> dict[str, float]:
    """One worker, one sender; percentiles in ms."""
    async with bench.worker(racer, dsn) as worker:
        within = (events + WARM_UP) / rate + PATIENCE
        sent = await bench.ask(racer, "pace", dsn, within, "--count", events + WARM_UP, "--rate", rate)
        report = await worker.stop()
    return percentiles(sent["events"][WARM_UP:], report["starts"])


def percentiles(events: list[list[int]], starts: list[list[int]]) -> dict[str, float]:
    """``{"from_call.p50": ms, …}``. Raises RuntimeError if a handler did not start."""
    started: dict[int, int] = {}
    for number, at in starts:
        started.setdefault(number, at)
    missing = [number for number, _, _ in events if number not in started]
    if missing:
        raise RuntimeError(f"no handler started for {len(missing)} of {len(events)} events")
    figures = {}
    for origin, place in (("from_call", 1), ("after_commit", 2)):
        waits = sorted((started[event[0]] - event[place]) / 1e6 for event in events)
        for name, share in (("p50", 0.50), ("p99", 0.99)):
            figures[f"{origin}.{name}"] = waits[min(len(waits) - 1, int(len(waits) * share))]
    return figures


AIMS = {
    "from_call.p50": "≤ 2.5 ms, below every peer",
    "from_call.p99": "≤ 5 ms, below every peer",
    "after_commit.p50": "≤ 1.3 ms",
}


def results(name: str, found: dict[str, list[dict[str, float]]], aims: dict[str, str] = AIMS) -> list[Result]:
    """One result for each percentile."""
    keys: list[Any] = list(found[FLOOR][0])
    return [
        Result(
            f"{name}.{key}",
            "ms",
            {racer: [figures[key] for figures in rounds] for racer, rounds in found.items() if racer != FLOOR},
            floor=[figures["from_call." + key.split(".")[-1]] for figures in found[FLOOR]],
            aim=aims.get(key),
        )
        for key in keys
    ]
