"""The doorbell: loses no wake-up, notices a dead session, comes back by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from loguru import logger
from psycopg import AsyncConnection

from pipeline.db.listener import Listener
from pipeline.db.pool import Connection
from pipeline.embedded.server import EmbeddedServer
from tests.db.sessions import notified
from tests.patience import PATIENCE
from tests.proxy import Proxy

LISTENERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%listener'"
TERMINATE = f"SELECT count(pg_terminate_backend(pid)) {LISTENERS}"


class Owner:
    """Counts what a listener tells its owner."""

    def __init__(self) -> None:
        self.reconnected = asyncio.Event()
        self.times = 0

    async def on_reconnect(self) -> None:
        self.times += 1
        self.reconnected.set()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(str(message)), level="WARNING", format="{message}")
    yield lines
    logger.remove(handler)


@pytest.fixture
async def other(empty_database: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        yield connection


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE)


async def test_a_notify_calls_the_watchers_of_its_channel_only(empty_database: str, other: Connection) -> None:
    async with Listener(empty_database, ["wallet_flags", "jobs"], name="test") as listener:
        flags, jobs = notified(listener, "wallet_flags"), notified(listener, "jobs")
        await other.execute("NOTIFY jobs")
        await soon(jobs)
        assert not flags.is_set()
        assert listener.received == {"jobs": 1}


async def test_whatever_anybody_says_is_a_notify(empty_database: str, other: Connection) -> None:
    """What there is to do stands in the tables: a payload may be anything, or nothing."""
    async with Listener(empty_database, ["wallet_flags"], name="test") as listener:
        flags = notified(listener, "wallet_flags")
        for payload in ('{"needs_gas": 2, "wallets": ["T1", "T2"]}', "somebody at psql", "[1]", ""):
            flags.clear()
            await other.execute("SELECT pg_notify('wallet_flags', %s)", [payload])
            await soon(flags)


async def test_a_watcher_that_fails_keeps_a_notify_from_nobody(
    empty_database: str, other: Connection, warnings: list[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("the watcher's own fault")

    async with Listener(empty_database, ["jobs"], name="test") as listener:
        listener.watch("jobs", fail)
        jobs = notified(listener, "jobs")
        for _ in range(2):
            jobs.clear()
            await other.execute("NOTIFY jobs")
            await soon(jobs)
        assert listener.reconnects == 0
        assert len([line for line in warnings if "What was to be done at NOTIFY jobs failed" in line]) == 2


async def test_no_wake_up_is_lost_over_300_rapid_notifications(empty_database: str, other: Connection) -> None:
    """The consumer has nothing but its event: one lost wake-up and it waits for ever."""
    await other.execute("CREATE TABLE work (id integer)")
    done = 0

    async def consume(jobs: asyncio.Event) -> None:
        nonlocal done
        async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
            while done < 300:
                await jobs.wait()
                jobs.clear()
                cursor = await connection.execute("DELETE FROM work")
                done += cursor.rowcount

    async with Listener(empty_database, ["jobs"], name="test") as listener:
        consumer = asyncio.create_task(consume(notified(listener, "jobs")))
        for number in range(300):
            async with other.transaction():
                await other.execute("INSERT INTO work VALUES (%s)", [number])
                await other.execute("SELECT pg_notify('jobs', %s)", [str(number)])
        await asyncio.wait_for(consumer, PATIENCE)
        assert done == 300


async def test_a_burst_in_one_packet_is_received_whole(empty_database: str, other: Connection) -> None:
    async with Listener(empty_database, ["jobs"], name="test") as listener:
        await other.execute("SELECT pg_notify('jobs', n::text) FROM generate_series(1, 500) AS n")
        while listener.received["jobs"] < 500:
            listener.heard.clear()
            await soon(listener.heard)


async def test_it_survives_the_end_of_its_backend(empty_database: str, other: Connection) -> None:
    owner = Owner()
    async with Listener(empty_database, ["jobs"], name="test", on_reconnect=owner.on_reconnect) as listener:
        jobs = notified(listener, "jobs")
        for times in (1, 2):
            owner.reconnected.clear()
            await other.execute(TERMINATE)
            await soon(owner.reconnected)
            await soon(jobs)  # called by the reconnect itself: nobody knows what was missed
            jobs.clear()
            await other.execute("NOTIFY jobs")
            await soon(jobs)
            jobs.clear()
            assert (owner.times, listener.reconnects) == (times, times)


async def test_an_owner_that_fails_at_the_reconnect_still_hears(empty_database: str, other: Connection) -> None:
    async def on_reconnect() -> None:
        raise RuntimeError("the owner's own fault")

    async with Listener(empty_database, ["jobs"], name="test", on_reconnect=on_reconnect) as listener:
        jobs = notified(listener, "jobs")
        await other.execute(TERMINATE)
        await soon(jobs)
        jobs.clear()
        await other.execute("NOTIFY jobs")
        await soon(jobs)


async def test_it_survives_a_restart_of_the_server(home: Path) -> None:
    server = EmbeddedServer(home, settings={"fsync": "off"})
    server.start()
    owner = Owner()
    try:
        async with Listener(server.dsn, ["jobs"], name="test", on_reconnect=owner.on_reconnect) as listener:
            jobs = notified(listener, "jobs")
            server.stop()
            await soon(listener.lost)
            server.start()
            started = time.monotonic()
            await soon(owner.reconnected)
            assert time.monotonic() - started < 5
            await soon(listener.listening)
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute("NOTIFY jobs")
            await soon(jobs)
    finally:
        server.stop()


async def test_an_outage_is_said_once_however_many_attempts_it_takes(home: Path, warnings: list[str]) -> None:
    class Counting(Listener):
        attempts = 0
        many = asyncio.Event()

        async def _connect(self) -> None:
            self.attempts += 1
            if self.attempts > 4:
                self.many.set()
            await super()._connect()

    server = EmbeddedServer(home, settings={"fsync": "off"})
    server.start()
    try:
        async with Counting(server.dsn, ["jobs"], name="test") as listener:
            server.stop()
            await soon(listener.many)
            lost = [line for line in warnings if "LISTEN connection lost" in line]
            assert lost == warnings
            assert len(lost) == len(set(lost)), "each reason once: it is being stopped, it is gone"
            server.start()
            await soon(listener.listening)
    finally:
        server.stop()


async def test_a_session_that_is_open_and_dead_is_noticed_by_the_ping(
    empty_database: str, other: Connection, warnings: list[str]
) -> None:
    owner = Owner()
    async with (
        Proxy(empty_database) as proxy,
        Listener(
            proxy.dsn, ["jobs"], name="test", on_reconnect=owner.on_reconnect, ping_interval=0.1, ping_timeout=0.3
        ) as listener,
    ):
        jobs = notified(listener, "jobs")
        await soon(listener.answered)
        proxy.go_silent()
        await soon(listener.lost)
        assert any("no answer within 0.3 s" in line for line in warnings)
        proxy.recover()
        await soon(owner.reconnected)
        jobs.clear()
        await other.execute("NOTIFY jobs")
        await soon(jobs)


async def test_closing_does_not_wait_for_a_server_that_is_silent(empty_database: str) -> None:
    async with Proxy(empty_database) as proxy:
        listener = Listener(proxy.dsn, ["jobs"], name="test", ping_interval=0.05, ping_timeout=60)
        await listener.start()
        proxy.go_silent()
        listener.answered.clear()
        # The next ping is on its way and will not be answered.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listener.answered.wait(), 0.3)
        started = time.monotonic()
        await listener.close()
        assert time.monotonic() - started < 10  # and not the minute that the ping may take
        assert listener.lost.is_set()
        await listener.close()


async def test_lossy_ignores_every_notify_but_stays_alive(empty_database: str, other: Connection) -> None:
    async with Listener(empty_database, ["jobs"], name="test", lossy=True, ping_interval=0.05) as listener:
        jobs = notified(listener, "jobs")
        await other.execute("""SELECT pg_notify('jobs', '{"gas-topup": 1}')""")
        await soon(listener.heard)
        assert not jobs.is_set()
        listener.answered.clear()
        await soon(listener.answered)


async def test_a_session_that_does_not_listen_any_more_is_given_up(empty_database: str, warnings: list[str]) -> None:
    """As behind a pooler in transaction mode. Postgres cuts this name off, and so listens on another one."""
    name = "a_channel_with_a_name_of_more_than_the_63_bytes_that_postgres_keeps"
    async with Listener(empty_database, [name], name="test", ping_interval=0.05) as listener:
        await soon(listener.lost)
    assert any("FLAGPOST_LISTEN_URL" in line for line in warnings)


async def test_it_keeps_trying_when_the_server_is_not_there_at_the_start(home: Path) -> None:
    server = EmbeddedServer(home, settings={"fsync": "off"})
    listener = Listener(server.dsn, ["jobs"], name="test")
    starting = asyncio.create_task(listener.start())
    await asyncio.sleep(0)
    server.start()
    try:
        await asyncio.wait_for(starting, PATIENCE)
        assert listener.listening.is_set()
        assert listener.reconnects == 0
    finally:
        await listener.close()
        server.stop()


async def test_it_is_seen_as_ours_and_under_its_role(empty_database: str, other: Connection) -> None:
    async with Listener(empty_database, ["jobs"], name="gas-topup", role="pg_monitor"):
        cursor = await other.execute(f"SELECT application_name {LISTENERS}")
        assert await cursor.fetchall() == [("flagpost gas-topup listener",)]
