"""A notification queue that somebody keeps from being freed: commits go on, flags are served, it is said by whom."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from pipeline.db.listener import Listener
from pipeline.db.migrate import migrate
from pipeline.db.notification_queue import SUPPRESSED_FROM
from pipeline.db.pool import Connection
from pipeline.embedded.server import EmbeddedServer
from tests.conftest import temporary_home
from tests.db.cli_kit import MNEMONIC, Shell
from tests.db.sessions import notified, rows, second_session, value
from tests.db.test_runtime import child, read_line
from tests.db.worker_kit import PATIENCE, Script, executor, flag, running
from tests.seed import Chain, Wallet, add_wallets, seed_tron

SMALL = {"fsync": "off", "max_notify_queue_pages": "64"}
"""512 kB instead of 8 GB; from Postgres 17 on."""
FILL = "SELECT pg_notify('noise', repeat('x', 7000) || n) FROM generate_series(1, 10) AS n"
USAGE = "SELECT pg_notification_queue_usage()"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with temporary_home() as home, EmbeddedServer(home, settings=SMALL) as started:
        yield started


@pytest.fixture
async def dsn(server: EmbeddedServer) -> str:
    """A migrated database on it."""
    async with second_session(server.dsn) as admin:
        await admin.execute("DROP DATABASE IF EXISTS full_queue WITH (FORCE)")
        await admin.execute("CREATE DATABASE full_queue")
    made = make_conninfo(server.dsn, dbname="full_queue")
    await migrate(made)
    async with second_session(made) as admin:
        await admin.execute("DELETE FROM asset_on_chain")
        await admin.execute("DELETE FROM chains")
    return made


@pytest.fixture
async def operator(dsn: str) -> AsyncIterator[Connection]:
    async with second_session(dsn) as opened:
        yield opened


@pytest.fixture
async def chain(operator: Connection) -> Chain:
    return await seed_tron(operator)


@pytest.fixture
async def wallets(operator: Connection, chain: Chain) -> Sequence[Wallet]:
    return await add_wallets(operator, chain, 4)


class Holder:
    """A session that listens in a transaction, in another database of the same server."""

    def __init__(self, session: Connection) -> None:
        self.session = session
        self.pid = session.info.backend_pid

    async def fill(self, notifier: Connection) -> None:
        """From now on nothing is freed; returns once the queue is full."""
        await self.session.execute("LISTEN noise")
        await self.session.execute("BEGIN")
        await self.session.execute("SELECT")
        with contextlib.suppress(psycopg.errors.ProgramLimitExceeded):
            for _ in range(100):
                await notifier.execute(FILL)
            raise AssertionError("the queue did not fill")

    async def go(self, operator: Connection) -> None:
        """As the line in the log says."""
        await operator.execute("SELECT pg_terminate_backend(%s, 5000)", [self.pid])


@pytest.fixture
async def holder(server: EmbeddedServer) -> AsyncIterator[Holder]:
    elsewhere = make_conninfo(server.dsn, dbname="postgres", application_name="forgotten psql")
    session = await AsyncConnection.connect(elsewhere, autocommit=True)
    yield Holder(session)
    await session.close()


async def test_commits_and_the_pause_go_through(
    operator: Connection, holder: Holder, wallets: Sequence[Wallet]
) -> None:
    await holder.fill(operator)
    await flag(operator, wallets[0].id)
    await operator.execute("INSERT INTO system_config (key, value) VALUES ('paused', 'true')")
    await operator.execute("INSERT INTO job_logs (job_id, job_type, wallet_address) VALUES ('by-hand', 'sync', %s)",
                           [wallets[1].address])  # fmt: skip
    assert await value(operator, "SELECT count(*) FROM job_logs") == 1


async def test_flags_are_served_and_it_is_said_who_holds_it(
    operator: Connection,
    holder: Holder,
    wallets: Sequence[Wallet],
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.workers.runtime.Listener", partial(Listener, ping_interval=0.1))
    script = Script()
    async with running(executor(script), dsn) as runtime:
        queue = runtime.listener.queue
        await holder.fill(operator)
        async with asyncio.timeout(PATIENCE):
            while not queue.suppressed:
                runtime.listener.answered.clear()
                await runtime.listener.answered.wait()
        heard = runtime.listener.received["wallet_flags"]
        await flag(operator, wallets[0].id, wallets[1].id)
        await script.until_written(2)
        assert runtime.listener.received["wallet_flags"] == heard
        async with runtime.beaten, asyncio.timeout(PATIENCE):
            await runtime.beaten.wait_for(lambda: runtime.last_error is not None)
        told = runtime.last_error or ""
        assert f"session {holder.pid} (user postgres, database postgres, application forgotten psql, since 20" in told
        assert f"SELECT pg_terminate_backend({holder.pid})" in told

        woken = notified(runtime.listener, "wallet_flags")
        await holder.go(operator)
        async with asyncio.timeout(PATIENCE):
            while queue.suppressed:  # freed by the question about it, which no commit has asked since
                woken.clear()
                await woken.wait()
        assert await value(operator, USAGE) < SUPPRESSED_FROM
        assert runtime.last_error is None, "it is over"
        await flag(operator, wallets[2].id)
        await script.until_written(3)
        assert runtime.listener.received["wallet_flags"] == heard + 1
        woken.clear()
        await asyncio.wait_for(woken.wait(), PATIENCE)  # whoever was suppressed may commit later: it goes on polling


async def test_a_process_serves_within_seconds(
    operator: Connection, holder: Holder, wallets: Sequence[Wallet], dsn: str
) -> None:
    """With the intervals of a real one, which was there before."""
    async with child(dsn, 0) as process:
        await holder.fill(operator)
        started = asyncio.get_running_loop().time()
        await flag(operator, wallets[0].id)
        assert (await read_line(process)).startswith("started")
        assert asyncio.get_running_loop().time() - started < 12
        assert await rows(operator, "SELECT status FROM worker_registry") == [("running",)]


async def test_a_process_that_starts_meanwhile_knows_at_once(
    operator: Connection, holder: Holder, wallets: Sequence[Wallet], dsn: str
) -> None:
    await holder.fill(operator)
    async with Listener(dsn, ["wallet_flags"], name="test") as listener:
        assert listener.queue.suppressed
        woken = notified(listener, "wallet_flags")
        await asyncio.wait_for(woken.wait(), PATIENCE)


async def test_doctor_names_the_holder(
    operator: Connection, holder: Holder, chain: Chain, dsn: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("FLAGPOST_MNEMONIC", MNEMONIC)
    await holder.fill(operator)
    answer = await asyncio.to_thread(Shell(monkeypatch, capfd), "doctor", "--json")
    found = {check["check"]: check for check in answer.json["checks"]}
    assert answer.code == 1
    assert found["database.notifications"]["level"] == "fail"
    assert f"SELECT pg_terminate_backend({holder.pid})" in found["database.notifications"]["todo"]
    assert found["notify"]["level"] == "fail"


class TestTheFunctionByItself:
    """On every version of Postgres."""

    @pytest.mark.parametrize(
        ("usage", "notifies"), [(0.0, True), (SUPPRESSED_FROM - 0.01, True), (SUPPRESSED_FROM, False), (1.0, False)]
    )
    async def test_it_notifies_below_a_half(
        self, connection: Connection, database: str, usage: float, notifies: bool
    ) -> None:
        await connection.execute("CREATE SCHEMA stand_in")
        await connection.execute(
            "CREATE FUNCTION stand_in.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql"
            f" AS 'SELECT {usage}::float8'".encode()
        )
        await connection.execute(
            "ALTER FUNCTION notify_listeners SET search_path = stand_in, pg_catalog, public, pg_temp"
        )
        async with Listener(database, ["jobs", "end"], name="test") as listener:
            end = notified(listener, "end")
            await connection.execute("SELECT notify_listeners('jobs', 'x')")
            await connection.execute('NOTIFY "end"')
            await asyncio.wait_for(end.wait(), PATIENCE)
            assert listener.received["jobs"] == notifies

    async def test_every_trigger_notifies_through_it(self, connection: Connection) -> None:
        callers = await rows(
            connection,
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosrc ~ 'pg_notify\\s*\\('",
        )
        assert callers == [("notify_listeners",)]
        assert await value(connection, "SELECT notify_is_suppressed(%s)", SUPPRESSED_FROM)
        assert not await value(connection, "SELECT notify_is_suppressed(%s)", SUPPRESSED_FROM - 0.001)
