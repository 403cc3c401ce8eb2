"""Pooled connections, each under the role of its process from the first moment."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

from psycopg import AsyncConnection, InternalError, OperationalError, errors
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from psycopg_pool.pool_async import AddConnection, MaintenanceTask

from pipeline.db import sequences
from pipeline.db.dsn import behind_pooler, database_dsn
from pipeline.db.errors import DATABASE_GONE, ClockOutOfRange, DatabaseReadOnly
from pipeline.db.session import CONNECT_TIMEOUT, STATEMENT_TIMEOUT, pooler_dsn, session_dsn, settle
from pipeline.db.values import adapters
from pipeline.settings import Settings

Connection: TypeAlias = AsyncConnection[TupleRow]

ANSWER_MARGIN = 5.0
"""Seconds beyond the statement timeout until the silence of a server is taken for a dead connection. The server's own
timeouts end nothing where a proxy or a firewall swallows both questions and answers."""
LONGEST_PAUSE = 0.5
"""Seconds between two attempts of one place in the pool; a refused connection costs nothing."""
TIMES = "times_are_between"
"""Begins the names of constraints that bound times (migration 0014)."""
NEVER = 10 * 365 * 86400.0
"""Seconds after which the pool would stop trying. A worker outlives any outage."""


class Pool(AsyncConnectionPool[Connection]):
    """A pool that is back within a second of the server, however long that was away.

    The library's doubles its pause from 1 s on, so that after an outage of 30 s a request waits for up to 16 s more.
    """

    patience = STATEMENT_TIMEOUT + ANSWER_MARGIN
    """Seconds that a connection may be held; then it is cut, and whoever waits on it gets an OperationalError."""

    role: str | None = None
    """Whom its connections act as; None: whom the DSN says."""
    pooler = False
    """Whether they go through a pooler."""
    trouble = ""
    """Why the last attempt to connect failed; empty after one that did not."""

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - the library's
        """A connection for a few statements. Raises OperationalError, too, for what only the driver calls an
        InternalError: answers that do not fit the question, as where the session is ended in the middle of one; and
        DatabaseReadOnly, ClockOutOfRange, and ``sequences.NumberTaken``, where a sequence was behind its rows and now
        is not any more."""
        try:
            async with super().connection(timeout) as connection:
                try:
                    with cut_after(self.patience, connection):
                        yield connection
                except (InternalError, errors.CheckViolation) as error:
                    outage = _outage(error)
                    if outage is None:
                        raise
                    await connection.close()
                    raise outage from error
                except errors.UndefinedFile:
                    # A library that a setting hides; a session keeps its settings, and the next one has others.
                    await connection.close()
                    raise
        except PoolTimeout as error:
            raise PoolTimeout(f"{error}: {self.trouble}" if self.trouble else str(error)) from error
        except errors.UniqueViolation as error:
            what = sequences.taken(error)
            if what is None:
                raise
            await self._advance_sequences()
            raise sequences.NumberTaken(f"a sequence was behind its rows: {what}") from error

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - the library's
        """As the library's, for a task that is cancelled, too. The library waits by ``asyncio.wait_for``, which until
        Python 3.12 forgets a cancellation that comes together with the connection: the task would work on, and who told
        it to stop would wait for it."""
        task = asyncio.current_task()
        cancellations = task.cancelling() if task else 0
        connection = await super().getconn(timeout)
        if task and task.cancelling() > cancellations:
            await self.putconn(connection)
            raise asyncio.CancelledError
        return connection

    async def _advance_sequences(self) -> None:
        async with super().connection() as connection:
            with cut_after(self.patience, connection):
                await sequences.advance(connection)

    async def _connect(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - the library's
        """A new connection, checked before anybody gets it."""
        try:
            connection = await super()._connect(timeout)
            async with contextlib.AsyncExitStack() as undo:
                undo.push_async_callback(connection.close)
                with cut_after(self.patience, connection):
                    await settle(connection, self.name, self.role, pooler=self.pooler)
                undo.pop_all()
        except DATABASE_GONE as error:
            self.trouble = " ".join(str(error).split())
            raise
        self.trouble = ""
        return connection

    async def schedule_task(self, task: MaintenanceTask, delay: float) -> None:
        """Run ``task`` after ``delay`` seconds, an attempt to connect after ``LONGEST_PAUSE`` at most."""
        if isinstance(task, AddConnection):
            delay = min(delay, random.uniform(LONGEST_PAUSE / 2, LONGEST_PAUSE))  # noqa: S311 - spreads reconnects
        await super().schedule_task(task, delay)


def create_pool(
    settings: Settings,
    name: str,
    *,
    role: str | None = None,
    min_size: int = 1,
    max_size: int = 8,
    statement_timeout: float = STATEMENT_TIMEOUT,
    index_plans: bool = False,
) -> Pool:
    """A pool that is not open yet (``async with pool:`` or ``await pool.open(wait=True)``).

    Connections are in autocommit: ``async with connection.transaction():`` where several statements belong
    together. ``name`` is seen in pg_stat_activity as ``flagpost <name>``; ``role`` is the role of the process in the
    sense of SET ROLE, None for that of the DSN. After a disconnect call ``await pool.drain()``, or the dead
    connections are handed out one by one. ``statement_timeout`` in seconds.

    ``index_plans`` is for processes whose every statement has its index: a plan that was prepared while the tables were
    nearly empty, as on a new system, would otherwise go on scanning them whole when they have grown.
    """
    return pool_of(
        database_dsn(settings),
        name,
        role=role,
        min_size=min_size,
        max_size=max_size,
        statement_timeout=statement_timeout,
        index_plans=index_plans,
        pooler=behind_pooler(settings),
    )


def pool_of(
    dsn: str,
    name: str,
    *,
    role: str | None = None,
    min_size: int = 1,
    max_size: int = 8,
    statement_timeout: float = STATEMENT_TIMEOUT,
    index_plans: bool = False,
    pooler: bool = False,
) -> Pool:
    """As ``create_pool``, for a DSN. ``pooler``: the DSN goes through PgBouncer or the like in transaction mode."""
    pool = Pool(
        pooler_dsn(dsn, name) if pooler else session_dsn(dsn, name, role, statement_timeout, index_plans),
        min_size=min_size,
        max_size=max_size,
        open=False,
        name=name,
        timeout=30.0,
        reconnect_timeout=NEVER,
        kwargs={
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT,
            # A pooler gives each transaction another server session, which knows nothing of our prepared statements.
            "prepare_threshold": None if pooler else 5,
            "context": adapters(),
        },
    )
    pool.role, pool.pooler = role, pooler
    pool.patience = statement_timeout + ANSWER_MARGIN
    return pool


@contextlib.contextmanager
def cut_after(seconds: float, connection: Connection) -> Iterator[None]:
    """Cut ``connection`` when the work on it takes longer: cancelling would wait for an answer that never comes."""
    timer = asyncio.get_running_loop().call_later(seconds, cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def cut(connection: Connection) -> None:
    """Shut the socket down, so that whoever waits on it is told at once."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate, contextlib.suppress(OSError):
        duplicate.shutdown(socket.SHUT_RDWR)


def _outage(error: Exception) -> OperationalError | None:
    """What the driver calls a fault of ours and is none; None for what is one. The session is to be closed: it is
    ended, or would stay as it is when the server has recovered."""
    match error:
        case errors.ReadOnlySqlTransaction():
            return DatabaseReadOnly(
                f"the database takes no writes ({error.diag.message_primary}): a standby that is not promoted, "
                "or default_transaction_read_only is on"
            )
        case errors.CheckViolation() if (error.diag.constraint_name or "").startswith(TIMES):
            return ClockOutOfRange(f"the server's clock is wrong by decades: {error.diag.message_primary}")
        case errors.IdleInTransactionSessionTimeout() | errors.TransactionTimeout():
            return OperationalError(str(error))
        case InternalError() if error.sqlstate is None:
            return OperationalError(str(error))
    return None
