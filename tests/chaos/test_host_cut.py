"""A host that is cut off for more than a minute: what it holds is taken over, whatever it was doing at that moment, and
its workers go on once it is back."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.db.session import session_dsn
from tests.chaos.hosts import WORKERS, unavailable
from tests.chaos.two_hosts import TwoHosts, two_hosts
from tests.e2e.running import Running

PAYING = ("gas-topup", "consolidation")
CUT_SECONDS = 70.0
"""A worker that was not heard of for 60 s is dead to the others, whatever it does."""
SERVER_GIVES_UP_SECONDS = 40.0
"""25 s of silence, as each session asks for, and time for a busy machine."""
IN_A_PIPELINE = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection, connection.pipeline():
    connection.execute("SELECT id FROM wallets FOR UPDATE")
    connection.pgconn.send_flush_request()
    connection.pgconn.flush()
    print("sent", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def possible() -> None:
    if reason := unavailable():
        pytest.skip(reason)


@pytest.fixture
def others() -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for process in started:
        process.process.kill()
        process.__exit__()


async def free_wallets(two: TwoHosts) -> int:
    """Rows that nobody has locked."""
    return len(await two.on.database.psql.ask("SELECT id FROM wallets FOR UPDATE SKIP LOCKED"))


async def test_in_the_middle_of_a_pipeline(tmp_path: Path, others: list[Running]) -> None:
    """Its transaction is neither idle nor a statement: no timeout of a statement or of a transaction ends it."""
    async with two_hosts(tmp_path, {}) as two:
        assert two.on.hosts is not None
        dsn = session_dsn(two.dsn, "pipeline")
        inside = [f"--net={two.on.hosts.namespace('a')}", sys.executable, "-c", IN_A_PIPELINE, dsn]
        others.append(Running(inside, dict(os.environ), program="nsenter"))
        others[0].line("sent")
        begun = time.monotonic()
        while await free_wallets(two):
            await two.look(begun, "locked wallets")
        two.on.hosts.cut("a")
        begun = time.monotonic()
        while not await free_wallets(two):
            await two.look(begun, "wallets that are free again")
        assert time.monotonic() - begun < SERVER_GIVES_UP_SECONDS


async def test_whose_clock_is_behind_while_it_pays(tmp_path: Path) -> None:
    """Run with -s, it prints how long it took."""
    took: dict[str, float] = {}
    async with two_hosts(tmp_path, {"a": "-600s"}) as two:
        assert two.on.hosts is not None
        for host in WORKERS:
            await two.start(host)
        for host in WORKERS:
            await two.until_working(host)
        before = await two.working("a")

        await two.until_held("a", *PAYING)
        two.on.hosts.cut("a")
        begun = time.monotonic()
        left = set(await two.held("a", *PAYING))
        await two.deposit()
        while left & set(await two.held("a", *PAYING)):
            await two.look(begun, f"jobs that a held are taken over: {left}")
        took["what the host held is taken over"] = time.monotonic() - begun
        took["– and all is done"] = await two.until_at_rest()
        await asyncio.sleep(max(0.0, begun + CUT_SECONDS - time.monotonic()))
        since = await two.now()
        two.on.hosts.heal("a")
        took["the host is back: all of its workers are heard again"] = await two.until_heard("a", since)
        assert sorted((await two.working("a")).values()) == sorted(before.values()), "its agent has killed none"

        since = await two.now()
        await two.deposit()
        await two.until_taken("a", since)
        await two.until_at_rest()
        await two.judge()
    print(f"\njobs held at the cut: {len(left)}", *(f"{what}: {s:.1f} s" for what, s in took.items()), sep="\n")  # noqa: T201
