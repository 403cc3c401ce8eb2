"""The one LISTEN connection of a process: a doorbell, and a session for the answer to it.

    connecting → LISTEN → listening ──(error, ping unanswered)──▶ lost → (jittered pause) → connecting

A NOTIFY only calls who watches its channel; what there is to do stands in the tables. Who keeps the call in an
``asyncio.Event`` clears it *before* reading them, or a wake-up that arrives in between is lost. Every LISTEN but the
first calls the watchers of all channels, because nobody knows what was notified in the meantime; before the first one
there was nobody to miss anything: who starts reads the tables after ``start`` has returned.

The connection is in autocommit, is never pooled and runs no statement but the ping, those by which the gate
(``db.notify_gate``) moves locks under load, those about a queue that is too full (``db.notification_queue``), and
after a NOTIFY one of who waited for it (``db.loan``): ``notifies()`` holds the connection's lock, and breaking out of
it loses the rest of the packet, so it is left only at its own end (``stop_after``, ``timeout``). A statement that is
lent the session hardly waits for a lock, because who listens here is to hear of a pause.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Self
from uuid import UUID

import psycopg
from loguru import logger
from psycopg import AsyncConnection, Notify, sql

from pipeline.db.loan import Loan
from pipeline.db.notification_queue import NotificationQueue
from pipeline.db.notify_gate import Gate
from pipeline.db.outage import Outage
from pipeline.db.pool import Connection, cut
from pipeline.db.session import CONNECT_TIMEOUT, session_dsn, settle
from pipeline.db.session_lock import SessionLock
from pipeline.db.statements import statement
from pipeline.db.values import adapters

PING_INTERVAL = 8.0
PING_TIMEOUT = 5.0
"""Seconds. A half-open session is found within both together; 15 s are promised, and connecting again is among them."""
LOCK_TIMEOUT = "200"
STATEMENT_TIMEOUT = 4.0
"""Milliseconds, and seconds: the most that a statement on this session may wait for a lock, and take. Both are below
``PING_TIMEOUT``, so that one which is slow ends with an error and not with the session."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
"""Seconds between attempts to connect: doubled each time, and drawn at random between half and the whole of it."""

Reconnected = Callable[[], Awaitable[None]]


class Listener:
    """Listens on ``channels`` for as long as it is started. ``async with Listener(…) as listener``."""

    def __init__(
        self,
        dsn: str,
        channels: Sequence[str],
        *,
        name: str,
        role: str | None = None,
        worker_id: UUID | None = None,
        gated: str | None = None,
        lossy: bool = False,
        on_reconnect: Reconnected | None = None,
        ping_interval: float = PING_INTERVAL,
        ping_timeout: float = PING_TIMEOUT,
    ) -> None:
        """``dsn`` is a direct one (``dsn.listen_dsn``). ``on_reconnect`` is awaited after each LISTEN but the first:
        the owner drains its pool and sweeps there. By the session others see that ``worker_id`` lives, unless somebody
        else has taken its lock (``unseen``). ``gated`` is the channel that has a gate. ``lossy`` ignores every NOTIFY.
        Intervals in seconds."""
        self.channels = tuple(channels)
        self.lossy = lossy
        self.gate = Gate(self._poll_gated)
        """Of the channel ``gated``; without one it has nothing to do."""
        self.loan = Loan()
        """For who answers notifications; ``borrowed`` is the way to the session."""
        self.queue = NotificationQueue(self._poll)
        """How full the server's queue is."""
        self._outage = Outage("LISTEN connection")
        self._lock = SessionLock(worker_id)
        self.listening = asyncio.Event()
        """Set while the session listens."""
        self.lost = asyncio.Event()
        """Set while it does not (the opposite of ``listening``, to be waited for)."""
        self.unseen = asyncio.Event()
        """Set while others cannot see by the session that the worker lives: it is lost, or its lock is taken."""
        self.reconnects = 0
        self.answered = asyncio.Event()
        """Set by every ping that was answered; for tests, as is ``heard``."""
        self.heard = asyncio.Event()
        """Set by every notification, ignored ones included."""
        self.received: Counter[str] = Counter()
        """Notifications by channel since the start, ignored ones included."""
        self._name = f"{name} listener"
        self._role = role
        self._dsn = session_dsn(dsn, self._name, role, STATEMENT_TIMEOUT, index_plans=True)
        self._gated = gated
        self._on_reconnect = on_reconnect
        self._ping_interval, self._ping_timeout = ping_interval, ping_timeout
        self._watchers: dict[str, list[Callable[[], None]]] = {channel: [] for channel in self.channels}
        self._connection: Connection | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._set_listening(False)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def watch(self, channel: str, callback: Callable[[], None]) -> None:
        """Call ``callback`` at each NOTIFY on ``channel`` and at each reconnect, from now on. It must not block."""
        self._watchers[channel].append(callback)

    async def start(self) -> None:
        """Return once the session listens for the first time; keeps trying until then."""
        self._closing.clear()
        self._task = asyncio.create_task(self._run(), name="listener")
        waiting = asyncio.create_task(self.listening.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        """End the session, at once even where nobody answers. Safe to call twice."""
        self._closing.set()
        task, self._task = self._task, None
        if task is not None:
            if self._connection is not None:
                cut(self._connection)
            elif not task.done():
                task.cancel()
            await asyncio.wait({task})
        self._set_listening(False)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Connection | None]:
        """The session for one statement, if it has just heard a notification that somebody waited for; else None. It is
        cut if the server does not answer."""
        with self.loan.taken() as connection:
            if connection is None:
                yield None
            else:
                with self._answered_in_time(connection):
                    yield connection

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        first = True
        while not self._closing.is_set():
            try:
                await self._connect()
                pause = FIRST_PAUSE
                self._set_listening(True)
                self._outage.ended()
                if not first:
                    await self._announce_reconnect()
                first = False
                await self._listen()
            except (psycopg.Error, OSError) as error:
                if not self._closing.is_set():
                    self._outage.began(error)
            except Exception:
                # A doorbell that fails unnoticed leaves the process to its sweep for ever.
                logger.exception("LISTEN connection failed, connecting again")
            finally:
                self._set_listening(False)
                await self._disconnect()
            with contextlib.suppress(TimeoutError):
                spread = random.uniform(pause / 2, pause)  # noqa: S311 - spreads reconnects, guards nothing
                async with asyncio.timeout(spread):
                    await self._closing.wait()
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _connect(self) -> None:
        self._connection = await AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT, prepare_threshold=5, context=adapters()
        )
        with self._answered_in_time(self._connection):
            await settle(self._connection, self._name, self._role)
            await self._connection.execute(statement("session/set"), {"name": "lock_timeout", "value": LOCK_TIMEOUT})
            self._lock.lose()
            await self._take_lock(self._connection)
            if self._gated is not None:
                await self.gate.open(self._connection)
            for channel in self.channels:
                await self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            await self.queue.step(self._connection)

    async def _take_lock(self, connection: Connection) -> None:
        await self._lock.take(connection)
        self._set_unseen()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _announce_reconnect(self) -> None:
        self.reconnects += 1
        if self._on_reconnect is not None:
            try:
                await self._on_reconnect()
            except Exception:
                # The doorbell goes on whatever its owner failed at; the sweep is behind both.
                logger.exception("What was to be done after the reconnect failed")
        for channel in self.channels:
            self._call(channel)

    async def _listen(self) -> None:
        """Return only by an exception."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - for the type checker
        next_ping = time.monotonic() + self._ping_interval
        while True:
            remaining = next_ping - time.monotonic()
            if remaining <= 0:
                await self._ping(connection)
                next_ping = time.monotonic() + self._ping_interval
                continue
            if (unpolled := self.queue.seconds_left) <= 0:
                with self._answered_in_time(connection):
                    await self.queue.step(connection)
                continue
            if (left := self.gate.seconds_left) <= 0:
                with self._answered_in_time(connection):
                    await self.gate.step(connection)
                continue
            heard = False
            async for notification in connection.notifies(timeout=min(remaining, left, unpolled), stop_after=1):
                self._receive(notification)
                heard = True
            if heard:
                await self.loan.offer(connection)

    async def _ping(self, connection: Connection) -> None:
        """Ask something of the same session. TCP keepalives do not see a proxy that is stuck."""
        with self._answered_in_time(connection):
            row = await (await connection.execute(statement("listener/ping"))).fetchone()
            assert row is not None  # noqa: S101 - an aggregate
            channels, share = row
            await self.queue.note(connection, share)
            await self._take_lock(connection)
        self.answered.set()
        missing = set(self.channels) - set(channels)
        if missing:
            raise psycopg.OperationalError(
                f"the session no longer listens on {', '.join(sorted(missing))}: through a pooler in transaction mode "
                "LISTEN does not work, set FLAGPOST_LISTEN_URL to a direct address of the server"
            )

    @contextlib.contextmanager
    def _answered_in_time(self, connection: Connection) -> Iterator[None]:
        """Cut the connection if the server does not answer.

        Cancelling instead would make psycopg ask the server to cancel, and wait for that, on a connection that is
        dead.
        """
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            cut(connection)

        timer = asyncio.get_running_loop().call_later(self._ping_timeout, give_up)
        try:
            yield
        except psycopg.Error as error:
            if late:
                raise psycopg.OperationalError(f"no answer within {self._ping_timeout:g} s") from error
            raise
        finally:
            timer.cancel()

    def _receive(self, notification: Notify) -> None:
        channel = notification.channel
        self.received[channel] += 1
        self.heard.set()
        if self.lossy:
            return
        self._call(channel)
        if channel == self._gated:
            self.gate.notified()

    def _poll_gated(self) -> None:
        if self._gated is not None and not self.lossy:
            self._call(self._gated)

    def _poll(self) -> None:
        """Somebody may have been unable to notify: whoever watches reads the tables."""
        if not self.lossy:
            for channel in self.channels:
                self._call(channel)

    def _call(self, channel: str) -> None:
        for callback in self._watchers[channel]:
            try:
                callback()
            except Exception:
                # It is one watcher's fault, and the others have to hear of the next NOTIFY, too.
                logger.exception("What was to be done at NOTIFY {} failed", channel)

    def _set_listening(self, listening: bool) -> None:
        (self.listening if listening else self.lost).set()
        (self.lost if listening else self.listening).clear()
        self._set_unseen()

    def _set_unseen(self) -> None:
        unseen = self.lost.is_set() or not self._lock.held
        (self.unseen.set if unseen else self.unseen.clear)()
