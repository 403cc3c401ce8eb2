"""Short hands for tests that look at the database as somebody in psql does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection

from pipeline.db.listener import Listener
from pipeline.db.pool import Connection
from tests.patience import PATIENCE


async def rows(connection: Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, parameters or None)).fetchall()


async def value(connection: Connection, query: str, *parameters: Any) -> Any:
    """The first column of the only row."""
    (row,) = await rows(connection, query, *parameters)
    return row[0]


async def until_blocked(connection: Connection, blocked: Connection) -> None:
    """Returns once ``blocked`` waits for a lock that another session holds."""
    query = "SELECT cardinality(pg_blocking_pids(%s))"
    async with asyncio.timeout(PATIENCE):
        while not await value(connection, query, blocked.info.backend_pid):  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.005)


async def until_one_waits(connection: Connection) -> None:
    """Returns once some session of this database waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(PATIENCE):
        while not await value(connection, query):  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.005)


async def until_nobody_is_older(connection: Connection) -> None:
    """Returns once every transaction that is under way on the server, of other databases as well, began later."""
    written = await value(connection, "SELECT pg_current_xact_id()::text")
    query = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > %s::xid8"
    async with asyncio.timeout(PATIENCE):
        while not await value(connection, query, written):  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.005)


def notified(listener: Listener, channel: str) -> asyncio.Event:
    """Set at each NOTIFY of ``channel`` from now on."""
    event = asyncio.Event()
    listener.watch(channel, event.set)
    return event


@asynccontextmanager
async def second_session(dsn: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as opened:
        yield opened
