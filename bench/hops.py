"""Where the time from a flag to its handler goes, hop by hop, and how much of it a machine takes that has just slept.

One process flags a wallet 50 times a second, another is woken by each (the project's own executor), as in the measure
``latency``. Beside it, what a session waits for the simplest statements there are: at the same pace, and one right
after the other. What lies between the two is the price of waking up: every hop pays it.

    python -m bench.hops --events 1000
"""

import argparse
import asyncio
import bisect
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from bench.children import child, run
from bench.stand import Server, server
from bench.statements import text

RATE = 50.0
WARM_UP = 25
"""Events that do not count: connections, caches, plans."""
PATIENCE = 60.0
FEWEST = 100
LEFT_OUT = 0.05
"""Of the events, at most."""
US = (sys.executable, "-m", "bench.flagpost")
HOPS = ("update returned", "notified", "asked", "answered", "handler")
"""From the start of the UPDATE: it has committed; the listener has the NOTIFY; the claim is sent; it is there; the
handler runs."""
STATEMENTS = {
    "SELECT 1": "flagpost/nothing",
    "INSERT of a row": "flagpost/one_row",
    "INSERT of a job": "flagpost/one_job",
}


async def hops(dsn: str, events: int) -> dict[str, list[float]]:
    """Of each event, ms from the start of its UPDATE to every hop."""
    wallets = events + WARM_UP
    await run((*US, "setup", dsn, "--wallets", str(wallets)), "setup", "done", PATIENCE)
    async with child((*US, "trace", dsn), "worker") as worker:
        await worker.expect("ready", PATIENCE)
        pacing = (*US, "pace", dsn, "--count", str(wallets), "--rate", str(RATE))
        sent = await run(pacing, "pace", "report", wallets / RATE + PATIENCE)
        seen = await worker.stop()
    return split(sent["events"][WARM_UP:], seen)


def split(events: Sequence[Sequence[int]], seen: Mapping[str, Any]) -> dict[str, list[float]]:
    """Events next to what the worker noted of them, without those that it took on the way to something else (its timer
    ran out just before the NOTIFY). Raises ValueError when these are more than one in twenty: it was not idle."""
    started = dict(reversed(seen["starts"]))
    found: dict[str, list[float]] = {hop: [] for hop in HOPS}
    for number, before, after in events:
        handler = started.get(number, 0)
        notified = next((at for at in seen["notified"] if at > before), 0)
        answer = bisect.bisect_right(seen["answered"], handler) - 1
        times = (after, notified, seen["asked"][answer], seen["answered"][answer], handler)
        if before < notified < times[2] < times[3] <= handler:
            for hop, at in zip(HOPS, times, strict=True):
                found[hop].append((at - before) / 1e6)
    left_out = len(events) - len(found["notified"])
    if left_out > len(events) * LEFT_OUT:
        raise ValueError(
            f"{left_out} of {len(events)} events were not taken at their own NOTIFY: the worker was not idle"
        )
    return found


def simplest(dsn: str, count: int) -> dict[str, dict[str, float]]:
    """Medians in ms of the simplest statements: of a session that sleeps in between, and of one that does not."""
    found = {}
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        connection.execute(text("flagpost/rows"))
        for name, file in STATEMENTS.items():
            statement = text(file)
            found[name] = {
                "paced": statistics.median(timed(connection, statement, count, 1 / RATE)),
                "tight": statistics.median(timed(connection, statement, count, 0)),
            }
    return found


def timed(connection: psycopg.Connection[Any], statement: str, count: int, pause: float) -> list[float]:
    times = []
    for _ in range(count + WARM_UP):
        time.sleep(pause)
        before = time.perf_counter_ns()
        connection.execute(statement)
        times.append((time.perf_counter_ns() - before) / 1e6)
    return times[WARM_UP:]


def measure(bench: Server, events: int) -> dict[str, Any]:
    dsn = bench.new_database("hops")
    found = asyncio.run(hops(dsn, events))
    return {
        "hops": {hop: statistics.median(times) for hop, times in found.items()},
        "statements": simplest(dsn, events // 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000, help="at least 100")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.events < FEWEST:
        parser.error(f"--events: fewer than {FEWEST} say nothing")
    with server() as bench:
        found = measure(bench, options.events)
    if options.json:
        print(json.dumps(found))
        return
    print("ms from the start of the UPDATE, medians")
    for hop, at in found["hops"].items():
        print(f"  {hop:18} {at:6.2f}")
    print("ms of one statement, medians          50 a second   one after the other")
    for name, times in found["statements"].items():
        print(f"  {name:34} {times['paced']:11.2f} {times['tight']:21.2f}")


if __name__ == "__main__":
    main()
