"""Connections of simulated processes: psycopg's own, on sessions that the simulation lends, waiting where it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

import psycopg
from psycopg import AsyncConnection, pq
from psycopg_pool import PoolTimeout

from tests.simulation.database import Backend, Blocked, Database, RoundTrip

_COUNTED = ("_enter_gen", "_exit_gen")
"""Steps that begin by counting the connection's transactions. The driver takes that part without giving way, so that
a cancellation finds them begun; one that does not would leave a connection that has lost count."""
_NOTHING_OPEN = (pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN)


class Owner(Protocol):
    """The process that a connection belongs to."""

    alive: bool

    async def pause(self) -> None:
        """Let others go on; a place to die."""

    def loses(self, connection: "Connection", *, answered: bool) -> bool:
        """Whether the connection breaks off here, before the server is asked or after it has done what it was asked."""


class Connection(AsyncConnection[Any]):
    """A connection of a simulated process."""

    database: Database
    owner: Owner
    backend: Backend | None

    @classmethod
    def take(cls, database: Database, owner: Owner, dsn: str) -> "Connection":
        backend = database.take(dsn)
        made = cls(backend.pgconn)
        made.database, made.owner, made.backend = database, owner, backend
        made._autocommit = True
        made._pool = None  # type: ignore[assignment]
        if backend.prepared is not None:
            made._prepared = backend.prepared
        return made

    @property
    def in_transaction(self) -> bool:
        return self.pgconn.transaction_status not in _NOTHING_OPEN

    def break_off(self) -> None:
        """The client's end is gone; the server's is told."""
        backend, self.backend = self.backend, None
        if backend is not None:
            self.pgconn = _DEAD
            self.database.give_back(backend, self._prepared)

    async def close(self) -> None:
        self._closed = True
        self.break_off()

    async def wait(self, gen: RoundTrip, interval: float = 0.0, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        if not self.owner.alive:
            raise psycopg.OperationalError("this process is dead")
        if gen.__name__ in ("_commit_gen", "_rollback_gen") and not self.in_transaction and self._pipeline is None:
            return _without_asking(gen)
        cancelled = None
        try:
            await self._let_others_go_on()
        except asyncio.CancelledError as error:
            if gen.__name__ not in _COUNTED:
                raise
            cancelled = error
        if self.backend is None:
            raise psycopg.OperationalError("the connection is closed")
        if self.owner.loses(self, answered=False):
            self.break_off()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        self.database.tell_time()
        result = await self._ask(self.backend, gen)
        if cancelled is not None:
            raise cancelled
        await self._let_others_go_on()
        if self.backend is not None and self.owner.loses(self, answered=True):
            self.break_off()
        if self.backend is None:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return result

    async def _let_others_go_on(self) -> None:
        """Unless statements are sent and not answered: a pipeline is one thing to the server, and what it does of it
        while others run would depend on how fast it is."""
        if self._pipeline is None or not (self._pipeline.command_queue or self._pipeline.result_queue):
            await self.owner.pause()

    async def _ask(self, backend: Backend, gen: RoundTrip) -> Any:
        try:
            state = next(gen)
        except StopIteration as over:
            return over.value
        while True:
            over, state = backend.advance(gen, state)
            if over:
                if not self.in_transaction:
                    self.database.transaction_ended()
                return state
            if self.database.is_blocked(backend.pid):
                return await self._wait_for_lock(Blocked(backend, gen, state, 0.0, -1, None))

    async def _wait_for_lock(self, one: Blocked) -> Any:
        loop = asyncio.get_running_loop()
        one.since, one.answer = loop.time(), loop.create_future()
        self.database.blocked.append(one)
        try:
            return await one.answer
        except asyncio.CancelledError:
            # As psycopg does: the server is asked to cancel, and waited for.
            if one in self.database.blocked:
                one.answer = loop.create_future()
                self.database.cancel(one)
                with contextlib.suppress(psycopg.Error):
                    await one.answer
            raise


class Pool:
    """What ``db.pool.Pool`` is to the workers."""

    def __init__(self, database: Database, owner: Owner, dsn: str, size: int, taken: list[Connection]) -> None:
        """``taken`` is told of every connection."""
        self._database = database
        self._owner = owner
        self._dsn = dsn
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._taken = taken

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drain()

    async def drain(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().close()

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout or 30.0):
                await self._slots.acquire()
        except TimeoutError:
            raise PoolTimeout("couldn't get a connection after 30.00 sec") from None
        try:
            connection = self._take()
            try:
                async with connection:
                    yield connection
            finally:
                if not connection.closed:
                    self._idle.append(connection)
        finally:
            self._slots.release()

    def _take(self) -> Connection:
        if not self._owner.alive:
            raise psycopg.OperationalError("this process is dead")
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        connection = Connection.take(self._database, self._owner, self._dsn)
        connection._pool = self  # type: ignore[assignment]
        self._taken.append(connection)
        return connection


def _without_asking(gen: RoundTrip) -> Any:
    """The result of a step that has nothing to ask."""
    try:
        next(gen)
    except StopIteration as over:
        return over.value
    raise AssertionError("it had something to ask")


_DEAD = pq.PGconn.connect_start(b"host=/nowhere")
_DEAD.finish()
