"""Two hosts, each with a real ``flagpost host``, on one database: a worker and an agent are killed, a host is cut off,
one is drained, and the clock of one is ten minutes ahead. Work goes on, and nothing is paid twice.

Run with -s, it prints how long each took.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.chaos.hosts import WORKERS, unavailable
from tests.chaos.two_hosts import two_hosts


async def test_hosts_that_are_killed_cut_off_and_drained(tmp_path: Path) -> None:
    if reason := unavailable():
        pytest.skip(reason)
    took: dict[str, float] = {}
    async with two_hosts(tmp_path, {"b": "+600s"}) as two:
        assert two.on.hosts is not None
        for host in WORKERS:
            await two.start(host)
        for host in WORKERS:
            await two.until_working(host)
        await two.deposit()

        victim = next(pid for slot, pid in (await two.working("a")).items() if "consolidation" in slot)
        os.kill(victim, signal.SIGKILL)
        took["a worker is killed: another one is registered"] = await two.until_working("a", but=victim)

        await two.until_at_rest()
        two.on.hosts.cut("a")
        since = await two.now()
        await two.deposit()
        took["a host is cut off: its work is started on the other one"] = await two.until_taken("b", since)
        took["– and all of it is done"] = await two.until_at_rest()
        since = await two.now()
        two.on.hosts.heal("a")
        took["the host is back: all of its workers are heard again"] = await two.until_heard("a", since)

        await two.deposit()
        two.agents["a"].process.kill()
        await asyncio.to_thread(two.agents["a"].__exit__)
        await two.until_empty("a")
        await two.start("a")
        took["an agent is killed and started again: all of its workers are registered"] = await two.until_working("a")

        since = await two.now()
        await two.deposit()
        await two.until_taken("a", since)
        await two.tell_agent("a", "stop")
        took["a host is drained: nothing of it is left"] = await two.until_empty("a")
        await two.until_at_rest()
        await two.tell_agent("a", "start")
        await two.until_working("a")
        await two.until_working("b")
        await two.judge()
    print("", *(f"{what}: {seconds:.1f} s" for what, seconds in took.items()), sep="\n")  # noqa: T201
