"""Two hosts, each with a real ``flagpost host``, the clock of one ten minutes behind: a worker there hangs while it
holds jobs, and another one ends again and again. The other host goes on, and nothing is paid twice.

Run with -s, it prints how long each took.
"""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.hosts import WORKERS, unavailable
from tests.chaos.two_hosts import TwoHosts, alive, two_hosts


def slot_of(working: dict[str, int], kind: str) -> str:
    return next(slot for slot in working if f"-{kind}-" in slot)


async def freeze_at_work(two: TwoHosts, host: str, pid: int) -> list[str]:
    """Its worker for consolidations, while it holds jobs."""
    while True:
        await two.until_held(host, "consolidation")
        os.kill(pid, signal.SIGSTOP)
        if held := await two.held(host, "consolidation"):
            return held
        os.kill(pid, signal.SIGCONT)


async def kill_until_given_up(two: TwoHosts, host: str, slot: str) -> None:
    """Each process of the slot, as soon as it is registered."""
    begun = time.monotonic()
    killed = 0
    while f"{slot} is given up" not in two.agents[host].said:
        pid = (await two.working(host)).get(slot, killed)
        if pid != killed and alive(pid):
            os.kill(pid, signal.SIGKILL)
            killed = pid
        await two.look(begun, f"{slot} is given up")


async def test_a_worker_that_hangs_and_one_that_ends_again_and_again(tmp_path: Path) -> None:
    if reason := unavailable():
        pytest.skip(reason)
    took: dict[str, float] = {}
    async with two_hosts(tmp_path, {"a": "-600s"}) as two:
        for host in WORKERS:
            await two.start(host)
        for host in WORKERS:
            await two.until_working(host)
        working = await two.working("a")
        hanging, ending = slot_of(working, "consolidation"), slot_of(working, "gas-topup")

        held = await freeze_at_work(two, "a", working[hanging])
        since = await two.now()
        await two.tell(hanging, "restart")
        crashing = asyncio.create_task(kill_until_given_up(two, "a", ending))
        await two.deposit()
        took["the other host goes on"] = await two.until_taken("b", since)
        took["– and all of it is done"] = await two.until_at_rest()
        begun = time.monotonic()
        while (await two.working("a")).get(hanging, working[hanging]) == working[hanging]:
            await two.look(begun, f"another process in {hanging}")
        took["– the one that hung is replaced"] = time.monotonic() - begun
        assert not alive(working[hanging])
        await crashing

        since = await two.now()
        await two.tell(ending, "start")
        took["the one that was given up is started: all work"] = await two.until_working("a")
        await two.deposit()
        await two.until_taken("a", since)
        await two.until_at_rest()
        await two.judge()
    print(f"\njobs held: {len(held)}", *(f"{what}: {s:.1f} s" for what, s in took.items()), sep="\n")  # noqa: T201
