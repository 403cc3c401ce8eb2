"""The pool: acts under its role, and is back at once after an outage."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import TupleRow

from pipeline.db import pool as pool_module
from pipeline.db.errors import WrongRole
from pipeline.db.listener import Listener
from pipeline.db.pool import Pool, pool_of
from pipeline.embedded.server import EmbeddedServer
from pipeline.settings import Settings
from tests.patience import PATIENCE
from tests.proxy import Proxy, connect


async def ask(pool: Pool, question: str) -> TupleRow | None:
    async with pool.connection() as connection:
        return await (await connection.execute(question)).fetchone()


async def test_connections_act_under_their_role_even_after_a_reset(empty_database: str) -> None:
    async with pool_of(empty_database, "sync", role="pg_monitor") as pool, pool.connection() as connection:
        await connection.execute("RESET ALL")
        row = await (
            await connection.execute("SELECT current_user, current_setting('application_name'), session_user")
        ).fetchone()
        assert row == ("pg_monitor", "flagpost sync", "postgres")


async def test_a_dsn_with_options_keeps_them(empty_database: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(empty_database, options="-c work_mem=7MB")
    async with pool_of(dsn, "sync", role="pg_monitor", statement_timeout=1.5) as pool:
        assert await ask(
            pool, "SELECT current_setting('work_mem'), current_setting('statement_timeout'), current_user"
        ) == ("7MB", "1500ms", "pg_monitor")


async def test_no_plan_is_compiled_whatever_the_server_does_by_default(empty_database: str) -> None:
    """Debian's servers would; a claim took a second then."""
    async with await psycopg.AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute(f"ALTER DATABASE {connection.info.dbname} SET jit = on")
    async with pool_of(empty_database, "gas-topup", index_plans=True) as pool:
        assert await ask(pool, "SHOW jit") == ("off",)


async def test_statements_that_take_too_long_are_ended(empty_database: str) -> None:
    async with pool_of(empty_database, "sync", statement_timeout=0.05) as pool:
        with pytest.raises(errors.QueryCanceled):
            await ask(pool, "SELECT pg_sleep(60)")


SHORT_PATIENCE = 20.0
"""Where every step of many is tried."""


@pytest.mark.parametrize("steps", range(25))
async def test_a_task_that_waits_for_a_connection_can_be_cancelled_at_any_step(empty_database: str, steps: int) -> None:
    """Also at the one at which the connection arrives: ``asyncio.wait_for`` of Python 3.11 forgets the cancellation
    then, and a process that is told to stop waits for its own heartbeats."""

    async def go_on(pool: Pool) -> None:
        async with pool.connection():
            pass
        await asyncio.Event().wait()

    async with pool_of(empty_database, "sync", max_size=1) as pool:
        held = await pool.getconn()
        waiting = asyncio.create_task(go_on(pool))
        while not pool.get_stats().get("requests_waiting"):  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0)
        await pool.putconn(held)
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait({waiting}, timeout=SHORT_PATIENCE)
        assert done == {waiting}
        assert waiting.cancelled()
        assert await ask(pool, "SELECT 1") == (1,), "the connection is in the pool again"


FAREWELL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
READY = b"Z\0\0\0\5T"
"""ReadyForQuery, inside a transaction: the end of the answer to BEGIN."""


@contextlib.asynccontextmanager
async def a_farewell_after_begin(dsn: str) -> AsyncIterator[str]:
    """A way to the server on which the first session is ended between the two halves of the answer to BEGIN, as
    pg_terminate_backend may end it."""
    spoiled = asyncio.Event()

    async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.closing(sink):
            while data := await source.read(65536):
                if answers and data.endswith(READY) and not spoiled.is_set():
                    spoiled.set()
                    size = (len(FAREWELL) + 4).to_bytes(4, "big")
                    sink.write(data.removesuffix(READY) + b"E" + size + FAREWELL)
                    return
                sink.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await connect(dsn)
        async with asyncio.TaskGroup() as both:
            both.create_task(forward(reader, upstream[1], answers=False))
            both.create_task(forward(upstream[0], writer, answers=True))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield psycopg.conninfo.make_conninfo(dsn, host="127.0.0.1", port=port)


async def test_a_session_that_ends_in_the_middle_of_an_answer_is_a_lost_connection(empty_database: str) -> None:
    """The driver says InternalError, as of a bug. It is one that is tried again, with another session."""
    async with a_farewell_after_begin(empty_database) as dsn, pool_of(dsn, "sync", max_size=1) as pool:
        with pytest.raises(psycopg.OperationalError, match="received 2 results from command 'BEGIN'"):
            async with pool.connection() as connection, connection.transaction():
                pytest.fail("BEGIN went through")
        async with pool.connection() as connection, connection.transaction():
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_an_error_inside_the_server_is_no_lost_connection(empty_database: str) -> None:
    async with pool_of(empty_database, "sync") as pool:
        with pytest.raises(errors.InternalError_):
            await ask(pool, "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'XX000'; END $$")


async def test_connections_are_in_autocommit(empty_database: str) -> None:
    async with pool_of(empty_database, "sync") as pool:
        async with pool.connection() as connection:
            await connection.execute("CREATE TABLE public.kept ()")
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert await ask(pool, "SELECT to_regclass('public.kept')::text") == ("kept",)


async def test_behind_a_pooler_a_login_with_more_rights_is_refused(empty_database: str) -> None:
    async with pool_of(empty_database, "sync", role="pg_monitor", pooler=True, max_size=1) as pool:
        with pytest.raises(WrongRole, match="acts as postgres, it has to act as pg_monitor"):
            await pool._connect()


def test_a_listen_url_of_its_own_means_a_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(pool_module, "pool_of", lambda *_, pooler, **__: seen.append(pooler))
    pool_module.create_pool(Settings(database_url="postgresql://pooler/x", listen_url="postgresql://direct/x"), "sync")
    pool_module.create_pool(Settings(database_url="postgresql://direct/x"), "sync")
    assert seen == [True, False]


async def test_after_a_restart_nobody_is_handed_a_dead_connection(home: Path) -> None:
    """The pool is full of connections that died while nobody used them; the listener notices, its owner drains."""
    server = EmbeddedServer(home, settings={"fsync": "off"})
    server.start()
    drained = asyncio.Event()
    try:
        async with pool_of(server.dsn, "test", min_size=4, max_size=4) as pool:
            await pool.wait()

            async def drain() -> None:
                await pool.drain()
                drained.set()

            async with Listener(server.dsn, ["jobs"], name="test", on_reconnect=drain):
                server.stop()
                server.start()
                started = time.monotonic()
                await asyncio.wait_for(drained.wait(), PATIENCE)
                answers = await asyncio.gather(*(ask(pool, "SELECT 1") for _ in range(8)))
                assert answers == [(1,)] * 8
                assert time.monotonic() - started < 5  # without draining it took 43
    finally:
        server.stop()


async def test_it_is_back_at_once_however_long_the_server_was_away(home: Path) -> None:
    """With every place of the pool dead and trying again, and somebody waiting all the while."""
    server = EmbeddedServer(home, settings={"fsync": "off"})
    server.start()
    try:
        async with pool_of(server.dsn, "test", min_size=4, max_size=4) as pool:
            await pool.wait()
            server.stop()
            for _ in range(4):
                with contextlib.suppress(psycopg.OperationalError):
                    await ask(pool, "SELECT 1")
            waiting = asyncio.create_task(ask(pool, "SELECT 1"))
            await asyncio.sleep(3)  # the outage; the library's own pauses are 1, 2, 4 s
            server.start()
            started = time.monotonic()
            assert await asyncio.wait_for(waiting, PATIENCE) == (1,)
            assert time.monotonic() - started < 2.5  # the next of the library's attempts would be 4 s after its last
    finally:
        server.stop()


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever(empty_database: str) -> None:
    """A proxy swallows question and answer: the server's timeouts end nothing here."""
    async with Proxy(empty_database) as proxy, pool_of(proxy.dsn, "sync", max_size=1) as pool:
        await ask(pool, "SELECT 1")
        pool.patience = 0.2
        proxy.go_silent()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(ask(pool, "SELECT 1"), PATIENCE)
        proxy.recover()
        assert await ask(pool, "SELECT 1") == (1,)
