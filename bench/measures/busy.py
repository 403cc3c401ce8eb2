"""The same latency while 32 sessions commit to the same database as fast as it lets them.

They write a row each of a table of their own, and notify nobody: what they cost an event is the disk, the processors
and the lock that every notifying commit takes. How many commits they came to stands beside it.
"""

import sys
import time

import psycopg

from bench.bench import Bench
from bench.contestants import Contestant
from bench.measures import latency
from bench.pgbench import writers
from bench.result import FLOOR, Result
from bench.statements import parts, text

EVENTS = 300
WRITERS = 32

floor = Contestant(f"{FLOOR}, busy", (sys.executable, "-m", "bench.floor"), "")


async def measure(bench: Bench) -> list[Result]:
    """p50 and p99, and the commits of the writers."""
    events = bench.size(EVENTS, 40)
    dsn = bench.server.new_database(floor.database)

    async def one(racer: Contestant) -> dict[str, float]:
        own = dsn if racer is floor else await bench.database(racer)
        if racer is not floor:
            bench.reset(racer, own)
        with psycopg.connect(own, autocommit=True) as connection:
            for part in parts("writers/table"):
                connection.execute(part)
            before, started = _commits(connection), time.monotonic()
            async with writers(own, "writers/commit", WRITERS):
                figures = await latency.one_round(bench, racer, own, events)
                commits = _commits(connection) - before
            return figures | {"commits": commits / (time.monotonic() - started)}

    racers = [floor, *bench.contestants]
    bench.expect(bench.rounds * len(racers))
    found = await bench.rounds_of(racers, one, "busy")
    commits = {name: [figures["commits"] for figures in rounds] for name, rounds in found.items()}
    found[FLOOR] = found.pop(floor.name)
    return [
        *latency.results("busy", found, events),
        Result("busy.commits", "commits/s", commits, lower_is_better=False, settings={"writers": WRITERS}),
    ]


def _commits(connection: psycopg.Connection) -> int:
    (count,) = connection.execute(text("writers/commits")).fetchone() or (0,)
    return int(count)
