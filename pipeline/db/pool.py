"""Pooled connections, each under the role of its process from the first moment."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

from psycopg import AsyncConnection, InternalError, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from psycopg_pool.pool_async import AddConnection, MaintenanceTask

from pipeline.db import sequences
from pipeline.db.dsn import behind_pooler, database_dsn, with_application
from pipeline.db.errors import WrongRole
from pipeline.db.statements import statement
from pipeline.settings import Settings

Connection: TypeAlias = AsyncConnection[TupleRow]

STATEMENT_TIMEOUT = 30.0
"""Seconds. Everything a worker asks is bounded in rows; a statement that takes longer is a fault."""
ANSWER_MARGIN = 5.0
"""Seconds beyond the statement timeout until the silence of a server is taken for a dead connection. The server's own
timeouts end nothing where a proxy or a firewall swallows both questions and answers."""
IDLE_IN_TRANSACTION_TIMEOUT = 30.0
"""Seconds. An open transaction holds back vacuum, which slows the queue down: no network call happens in one."""
CONNECT_TIMEOUT = 5
"""Seconds for one attempt."""
LONGEST_PAUSE = 0.5
"""Seconds between two attempts of one place in the pool; a refused connection costs nothing."""
NEVER = 10 * 365 * 86400.0
"""Seconds after which the pool would stop trying. A worker outlives any outage."""


class Pool(AsyncConnectionPool[Connection]):
    """A pool that is back within a second of the server, however long that was away.

    The library's doubles its pause from 1 s on, so that after an outage of 30 s a request waits for up to 16 s more.
    """

    patience = STATEMENT_TIMEOUT + ANSWER_MARGIN
    """Seconds that a connection may be held; then it is cut, and whoever waits on it gets an OperationalError."""

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - the library's
        """A connection for a few statements. Raises OperationalError, too, for what only the driver calls an
        InternalError: answers that do not fit the question, as where the session is ended in the middle of one; and
        ``sequences.NumberTaken``, which is one, where a sequence was behind its rows and now is not any more."""
        try:
            async with super().connection(timeout) as connection:
                try:
                    with cut_after(self.patience, connection):
                        yield connection
                except InternalError as error:
                    if error.sqlstate is not None:  # the server's own, which is a bug and no loss
                        raise
                    await connection.close()
                    raise OperationalError(str(error)) from error
        except UniqueViolation as error:
            what = sequences.taken(error)
            if what is None:
                raise
            await self._advance_sequences()
            raise sequences.NumberTaken(f"a sequence was behind its rows: {what}") from error

    async def _advance_sequences(self) -> None:
        async with super().connection() as connection:
            with cut_after(self.patience, connection):
                await sequences.advance(connection)

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

    async def verify_role(connection: Connection) -> None:
        """A pooler drops settings of the session; nothing may run under more rights than meant."""
        row = await (await connection.execute(statement("pool/current_role"))).fetchone()
        if row is not None and row[0] != role:
            raise WrongRole(
                f"The connection of {name} acts as {row[0]}, it has to act as {role}. Behind a pooler give the process "
                "a login of its own in DATABASE_URL: "
                f"CREATE ROLE {name} LOGIN IN ROLE {role}; ALTER ROLE {name} SET role = {role}"
            )

    pool = Pool(
        with_application(dsn, name) if pooler else session_dsn(dsn, name, role, statement_timeout, index_plans),
        min_size=min_size,
        max_size=max_size,
        open=False,
        name=name,
        timeout=30.0,
        reconnect_timeout=NEVER,
        configure=verify_role if pooler and role is not None else None,
        kwargs={
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT,
            # A pooler gives each transaction another server session, which knows nothing of our prepared statements.
            "prepare_threshold": None if pooler else 5,
        },
    )
    pool.patience = statement_timeout + ANSWER_MARGIN
    return pool


def session_dsn(
    dsn: str,
    name: str,
    role: str | None = None,
    statement_timeout: float = STATEMENT_TIMEOUT,
    index_plans: bool = False,
) -> str:
    """``dsn`` with role, timeouts and ways of planning as settings of the session itself.

    In the start-up message rather than by SET: no round trip, and RESET ALL comes back to them.
    """
    options = [str(conninfo_to_dict(dsn).get("options") or "")]
    if role is not None:
        options.append(f"-c role={role}")
    options.append(f"-c statement_timeout={round(statement_timeout * 1000)}")
    options.append(f"-c idle_in_transaction_session_timeout={round(IDLE_IN_TRANSACTION_TIMEOUT * 1000)}")
    # Debian's Postgres 15 compiled the claim anew each time: 470 ms for 1. Before 18 one scan of ten rows is reason
    # enough, where enable_seqscan=off could not avoid it.
    options.append("-c jit=off")
    if index_plans:
        options.append("-c enable_seqscan=off")
    return make_conninfo(with_application(dsn, name), options=" ".join(options).strip())


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
