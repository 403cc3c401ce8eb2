"""How long recovery takes on two hosts, each with a real ``flagpost host``: part of ``make recovery``.

There is one worker of each kind over both hosts, and each round strikes the host that has them:

    a worker is killed ──▶ its agent starts another one
    the host and all that it runs is lost ──▶ the other host starts them ──▶ the lost one comes back, and waits
    the host is cut off ──▶ the other one starts them
"""

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

from pipeline.scaling.restarts import FAST_SECONDS
from tests.chaos.hosts import WORKERS
from tests.chaos.two_hosts import HERE, KINDS, TwoHosts, two_hosts

ONE_OF_EACH = "SELECT t.type FROM worker_types t, scale_workers(t.type, 1, anyway => true) WHERE t.type = ANY (%s)"
KILLED = "a worker is killed: the agent of its host has started another one"
LOST = "a host is lost with all that it runs: the other one has started as many workers"
CUT = "a host is cut off: the other one has started as many workers"
AIMS = {KILLED: "≤ 2 s", LOST: "≤ 20 s", CUT: "≤ 40 s: the server gives up a silent host after 25 s"}


async def measure_hosts(rounds: int) -> dict[str, list[float]]:
    """Seconds by what was measured, one a round."""
    found: dict[str, list[float]] = {name: [] for name in AIMS}
    with tempfile.TemporaryDirectory(prefix="flagpost-recovery-") as directory:
        async with two_hosts(Path(directory), {}) as two:
            first, second = WORKERS
            await two.start(first)
            await two.until_working(first)
            await two.on.database.psql.ask(ONE_OF_EACH, list(KINDS))
            for _ in range(rounds):
                await _join(two, second)
                found[KILLED].append(await _kill_one(two, first))
                found[LOST].append(await _lose(two, first, second))
                first, second = second, first
                await _join(two, second)
                found[CUT].append(await _cut(two, first, second))
                first, second = second, first
                await asyncio.to_thread(two.agents[second].stop)
    return found


async def _join(two: TwoHosts, host: str) -> None:
    """Its agent is there, and stands by."""
    await two.start(host)
    begun = time.monotonic()
    query = (
        "SELECT w.id FROM worker_registry w WHERE w.type = 'host' AND w.host = %s AND w.session_seen AND has_process(w)"
    )
    while not await two.on.database.eyes.ask(query, host):
        await two.look(begun, f"the agent of {host}")


async def _settle(two: TwoHosts, host: str) -> None:
    """Each worker there has sent a heartbeat, and one that ends now does not end right after its start."""
    begun = time.monotonic()
    query = f"{HERE} AND w.session_seen AND w.created_at < now() - %s * interval '1 second'"
    while len(await two.on.database.eyes.ask(query, host, FAST_SECONDS)) != len(KINDS):
        await two.look(begun, f"workers of {host} that have settled")


async def _kill_one(two: TwoHosts, host: str) -> float:
    await _settle(two, host)
    victim = next(pid for slot, pid in (await two.working(host)).items() if "consolidation" in slot)
    os.kill(victim, signal.SIGKILL)
    return await two.until_working(host, but=victim)


async def _lose(two: TwoHosts, host: str, other: str) -> float:
    await _settle(two, host)
    pids = [two.agents[host].process.pid, *(await two.working(host)).values()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    took = await two.until_working(other)
    await asyncio.to_thread(two.agents[host].__exit__)
    return took


async def _cut(two: TwoHosts, host: str, other: str) -> float:
    """Back again, it gives up what the other one has taken over."""
    assert two.on.hosts is not None
    await _settle(two, host)
    two.on.hosts.cut(host)
    took = await two.until_working(other)
    two.on.hosts.heal(host)
    await two.until_empty(host)
    return took
