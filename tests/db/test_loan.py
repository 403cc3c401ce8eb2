"""A claim on the session that heard of a flag: no notification is lost by it, and nothing waits for it."""

import asyncio

import psycopg
import pytest
from psycopg import AsyncConnection

from pipeline.db.listener import Listener
from pipeline.db.pool import Connection
from tests.db.sessions import notified
from tests.db.worker_kit import PATIENCE, Script, executor, flag, jobs, rows, running
from tests.proxy import Proxy
from tests.seed import Chain, add_wallets

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE)


async def test_flags_are_claimed_where_they_were_heard_of(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 3)
    script = Script()
    async with running(executor(script), database) as runtime:
        for done, wallet in enumerate(wallets, 1):
            await flag(connection, wallet.id)
            await script.until_written(done)
        assert runtime.listener.loan.times >= 1
        assert runtime.listener.reconnects == 0
    assert [job["status"] for job in await jobs(connection)] == ["completed"] * 3


async def test_what_is_notified_while_the_session_is_lent_is_heard_afterwards(
    empty_database: str, connection: Connection
) -> None:
    async with (
        Listener(empty_database, ["jobs"], name="test") as listener,
        await AsyncConnection.connect(empty_database, autocommit=True) as other,
    ):
        woken = notified(listener, "jobs")
        listener.loan.wanted = True
        await other.execute("NOTIFY jobs")
        await soon(woken)
        with listener.borrowed() as session:
            assert session is not None
            for number in range(5):
                await other.execute("SELECT pg_notify('jobs', %s)", [str(number)])
                await session.execute("SELECT 1")
            assert listener.received["jobs"] == 1
            listener.loan.wanted = False
            woken.clear()
        await soon(woken)
        while listener.received["jobs"] < 6:
            listener.heard.clear()
            await soon(listener.heard)
        assert listener.reconnects == 0


async def test_an_offer_that_is_declined_or_comes_unasked_changes_nothing(empty_database: str) -> None:
    async with (
        Listener(empty_database, ["jobs"], name="test") as listener,
        await AsyncConnection.connect(empty_database, autocommit=True) as other,
    ):
        for wanted in (True, False):
            woken = notified(listener, "jobs")
            listener.loan.wanted = wanted
            await other.execute("NOTIFY jobs")
            await soon(woken)
            listener.loan.decline()
            with listener.borrowed() as session:
                assert session is None
        assert listener.loan.times == 0


async def test_a_session_that_goes_silent_while_it_is_lent_is_given_up(empty_database: str) -> None:
    async with (
        Proxy(empty_database) as proxy,
        Listener(proxy.dsn, ["jobs"], name="test", ping_timeout=0.2) as listener,
        await AsyncConnection.connect(empty_database, autocommit=True) as other,
    ):
        woken = notified(listener, "jobs")
        listener.loan.wanted = True
        await other.execute("NOTIFY jobs")
        await soon(woken)
        proxy.go_silent()
        with pytest.raises(psycopg.OperationalError, match="no answer within"):
            await _ask(listener)
        await soon(listener.lost)
        proxy.recover()
        await soon(listener.listening)


async def test_a_claim_that_meets_a_lock_leaves_the_session_to_its_listener(
    connection: Connection, database: str, tron: Chain
) -> None:
    """An operator has typed a job of the same wallet, and has not committed it."""
    (wallet,) = await add_wallets(connection, tron, 1)
    script = Script()
    async with running(executor(script), database) as runtime, await AsyncConnection.connect(database) as operator:
        typed = "INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES ('typed', 'gas-topup', %s)"
        await operator.execute(typed, [wallet.address])
        await flag(connection, wallet.id)
        async with asyncio.timeout(PATIENCE):
            while (await rows(connection, BLOCKED + " AND application_name NOT LIKE '%%listener'"))[0]["count"] == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        heard = notified(runtime.listener, "config")
        await connection.execute("NOTIFY config")
        await soon(heard)
        await operator.commit()
        await script.until_written(1)
    assert [job["job_id"] for job in await jobs(connection)] == ["typed"]


async def _ask(listener: Listener) -> None:
    with listener.borrowed() as session:
        assert session is not None
        await session.execute("SELECT 1")
