"""The life that all processes share.

    waiting for the database → registered → listening → parked → ready → working ⇄ paused → stopping → stopped

A worker brings its loop (``Worker.run``); the runtime brings the pool under the worker's role, the LISTEN connection,
the heartbeat, the configuration as it changes, pause, and an orderly end. Every stage has an ``asyncio.Event``, so that
nobody has to sleep to see it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from loguru import logger
from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled
from psycopg.rows import TupleRow

from pipeline.config import RuntimeConfig
from pipeline.db import sequences
from pipeline.db.dsn import behind_pooler, database_dsn, listen_dsn, without_password
from pipeline.db.errors import DATABASE_GONE, WrongSession
from pipeline.db.listener import Listener
from pipeline.db.pool import create_pool
from pipeline.db.session import CONNECT_TIMEOUT, pooler_dsn, session_dsn, settle
from pipeline.db.statements import statement
from pipeline.log import LogThrottle
from pipeline.metrics.endpoint import Endpoint
from pipeline.printable import reason
from pipeline.settings import Settings
from pipeline.workers.commands import POLL_SECONDS, WORKERS, Commands
from pipeline.workers.memory import resident_bytes
from pipeline.workers.process import Process, Stopped
from pipeline.workers.registry import Desired, Launched, Registration
from pipeline.workers.rescue import CHECK_SECONDS, Rescue

RESCUING_ROLES = frozenset({"pipeline_executor", "pipeline_confirmations"})
"""Processes of these roles take over what others left behind; the rest may not touch jobs, and insert nothing."""
START_RETRY_SECONDS = 3.0
"""Between two attempts, and two lines, while the database or its schema is not there yet."""
SESSIONLESS_HEARTBEAT_SECONDS = 2.0
"""Between heartbeats while nobody sees the LISTEN session: who has neither for 5 s is dead (``dead_workers``)."""
GATED = "wallet_flags"
"""The channel whose NOTIFY may be suppressed under load (``db.notify_gate``)."""
HEARTBEAT_RETRY_SECONDS = 2.0
"""After one that failed."""
GRACE_SECONDS = 4.0
"""From SIGTERM until what is not finished is handed back. Honcho kills after 5 s."""
HAND_BACK_SECONDS = 3.0
"""How long the end of a worker may take beyond the grace before it is cut off."""
SLOT_WAIT_SECONDS = 15.0
"""How long a process waits for the slot that it was started for: what its last process held is rescued within ten."""
SLOT_RETRY_SECONDS = 0.25


class Worker(Protocol):
    """What one process does."""

    type: str
    """As in worker_registry and in the Procfile, e.g. ``gas-topup``."""
    role: str
    """The database role it acts under."""
    channels: Sequence[str]
    """What it is woken by."""
    blockchain: str | None
    """Chains it is limited to, for people."""

    async def run(self, runtime: "Runtime") -> None:
        """Work until ``runtime.stopping`` is set, then finish or hand back what is held, and return."""

    def stats(self) -> Mapping[str, Any]:
        """Counts for worker_registry.stats."""


class Runtime(Process):
    """One process from start to end. ``await Runtime(settings, worker).run()``; ``stop()`` ends it from any task."""

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        *,
        pool_size: int = 4,
        grace_seconds: float = GRACE_SECONDS,
        start_retry_seconds: float = START_RETRY_SECONDS,
        check_seconds: float = CHECK_SECONDS,
        command_seconds: float = POLL_SECONDS,
        endpoint: Endpoint | None = None,
    ) -> None:
        """``endpoint`` serves what is measured; None: nothing does."""
        super().__init__(
            worker.type,
            create_pool(settings, worker.type, role=worker.role, min_size=1, max_size=pool_size, index_plans=True),
        )
        self.settings = settings
        self.worker = worker
        self.grace_seconds = grace_seconds
        self.config = RuntimeConfig()
        launched = Launched(settings.host, settings.slot, settings.managed_by)
        self.registration = Registration(self.pool, worker.type, blockchain=worker.blockchain, launched=launched)
        if machine := getattr(worker, "machine", None):
            self.registration.config = {"machine": machine}
        self.listener = Listener(
            listen_dsn(settings),
            [*worker.channels, "config", WORKERS],
            name=worker.type,
            role=worker.role,
            worker_id=self.registration.incarnation,
            gated=GATED if GATED in worker.channels else None,
            lossy=settings.lossy_notify,
            on_reconnect=self._reconnected,
        )
        self.listener.watch("config", self._config_changed)
        self.listener.queue.told = lambda said: self.troubles.say("notification queue", said)
        self.rescue = Rescue(self, check_seconds)
        self.commands = Commands(self, poll_seconds=command_seconds)
        self.listener.watch(WORKERS, self.commands.wake)
        self.begins_anew = False
        """Whether the process was told to stop or restart, or had too much memory: it is to begin again, where nobody
        else starts it."""
        self.ready = asyncio.Event()
        """Set once the process is registered and listens."""
        self.heartbeats = 0
        self.beaten = asyncio.Condition()
        """Notified after each heartbeat: for tests, instead of a sleep."""
        self._start_retry_seconds = start_retry_seconds
        self._endpoint = endpoint
        self._watchers: list[Callable[[], None]] = []

    @property
    def last_error(self) -> str | None:
        """What is wrong now, by all who say so; shown in worker_registry with the next heartbeat."""
        return str(self.troubles) or None

    @property
    def paused(self) -> bool:
        """Whether nothing new may be taken: by the system's switch, or because an operator paused this process."""
        return self.config.paused or self.registration.paused_by_operator

    def watch(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever the configuration, the pause, the connection or the will to stop changes."""
        self._watchers.append(callback)

    def stop(self, *, anew: bool = False) -> None:
        """Ask the process to end; with ``anew`` to begin again then. Safe to call twice: the first word counts."""
        if not self.stopping.is_set():
            self.begins_anew = anew
            logger.info("{}: stopping", self.worker.type)
            self.stopping.set()
            self.announce()

    async def run(self) -> None:
        """Live from waiting for the database until stopped. Raises what ``Worker.run`` raises."""
        try:
            await self._wait_for_database()
        except Stopped:
            return
        async with self.pool:
            try:
                await self._serve_measures()
                await self._register()
                await self.persist("reading the configuration", self._reload)
                await self.persist("comparing sequences", self._advance_at_start)
                await self._until_stopped(self.listener.start())
                await self._work()
            except Stopped:
                pass
            except Exception as error:
                self.troubles.say("process", f"{type(error).__name__}: {reason(error)}")
                raise
            finally:
                await self.listener.close()
                await self._deregister()
                if self._endpoint is not None:
                    await self._endpoint.close()

    async def _serve_measures(self) -> None:
        if self._endpoint is not None:
            more = getattr(self.worker, "measure", None)
            registration = self.registration
            registration.port = await self._endpoint.start(self, self._unhealthy, more)
            registration.config = {**registration.config, "metrics_host": self._endpoint.host}

    def _unhealthy(self) -> str | None:
        """Why a container runtime should start this process again: it hangs at registering or in the middle of its
        life. A database that is away is no reason: the process goes on by itself."""
        worked = self.ready.is_set() or self.commands.parked
        return None if worked or self.registration.slot is None else "it is registered, and does not begin to work"

    async def _register(self) -> None:
        """In the slot that the process was started for, as soon as that is free; after a while in any."""
        gives_up = asyncio.get_running_loop().time() + SLOT_WAIT_SECONDS
        while not await self.persist("registering", lambda: self.registration.register(any_slot=False)):
            if asyncio.get_running_loop().time() >= gives_up:
                logger.warning("{}: slot {} is not free, taking another", self.worker.type, self.settings.slot)
                await self.persist("registering", self.registration.register)
                return
            await self.sleep(SLOT_RETRY_SECONDS)

    async def advance_sequences(self) -> None:
        """Move sequences that are behind their rows past them, before anybody meets one; for roles that insert rows.
        Raises psycopg errors."""
        if self.worker.role not in RESCUING_ROLES:
            return
        async with self.pool.connection() as connection:
            await sequences.advance(connection)

    async def _advance_at_start(self) -> None:
        try:
            await self.advance_sequences()
        except QueryCanceled as error:  # else at the first number that is taken, or by the sweep
            logger.warning("{}: sequences were not compared: {}", self.worker.type, reason(error))

    async def _work(self) -> None:
        watchers = {
            "heartbeats": self._heartbeats(),
            "lost session": self._say_alive_without_session(),
            "commands": self.commands.keep_obeying(),
        }
        if self.worker.role in RESCUING_ROLES:
            watchers["rescue"] = self.rescue.keep_checking()
        watching = [asyncio.create_task(watcher, name=name) for name, watcher in watchers.items()]
        try:
            await self.commands.until_started()
            await self._work_until_stopped(watching)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _work_until_stopped(self, watching: Sequence[asyncio.Task[None]]) -> None:
        if self.stopping.is_set():
            return
        self.commands.obey()
        working = asyncio.create_task(self.worker.run(self), name=self.worker.type)
        self.ready.set()
        logger.info("{}: ready as {}{}", self.worker.type, self.registration.slot, " (paused)" if self.paused else "")
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({working, stopping, *watching}, return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            await asyncio.wait({working}, timeout=self.grace_seconds + HAND_BACK_SECONDS)
            if not working.done():
                logger.error("{}: did not end in time; what it holds is rescued once it is silent", self.worker.type)
                working.cancel()
            with contextlib.suppress(asyncio.CancelledError, Stopped):
                await working
            for watcher in watching:
                if watcher.done():
                    with contextlib.suppress(Stopped):
                        watcher.result()  # else they end by an error only
        finally:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)

    async def _wait_for_database(self) -> None:
        """Until the database answers, has the schema, takes writes, and gives sessions that can be used."""
        shown = without_password(database_dsn(self.settings))
        while True:
            try:
                if await self._has_schema():
                    await self._try_session()
                    return
                logger.warning("database {} has no Flagpost schema: run flagpost migrate; waiting for it", shown)
            except WrongSession as error:
                logger.error("database {}: {}; waiting for it", shown, reason(error))
            except DATABASE_GONE as error:
                logger.warning("database {} does not answer, or takes no writes: {}; retrying", shown, reason(error))
            await self.sleep(self._start_retry_seconds)

    async def _has_schema(self) -> bool:
        async with await self._connect(None) as connection:
            probe = await connection.execute(statement("workers/probe"), {"role": self.worker.role})
            row = await probe.fetchone()
            return row is not None and bool(row[0])

    async def _try_session(self) -> None:
        """A session as the pool will have them, so that what is wrong with it is said here and not waited for there."""
        pooler = behind_pooler(self.settings)
        async with await self._connect(self.worker.role) as connection:
            await settle(connection, self.worker.type, self.worker.role, pooler=pooler)

    async def _connect(self, role: str | None) -> AsyncConnection[TupleRow]:
        dsn, name = database_dsn(self.settings), self.worker.type
        return await AsyncConnection.connect(
            pooler_dsn(dsn, name) if behind_pooler(self.settings) else session_dsn(dsn, name, role),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT,
            prepare_threshold=None,
        )

    async def _until_stopped(self, action: Awaitable[None]) -> None:
        """Await ``action``; raises Stopped, and cancels it, when told to stop before it ends."""
        acting = asyncio.ensure_future(action)
        stopping = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not acting.done():
            acting.cancel()
            raise Stopped
        await acting

    async def _heartbeats(self) -> None:
        throttle = LogThrottle()
        while True:
            self._beat.clear()
            seconds = self.config.heartbeat_seconds
            try:
                await self._reload()
                await self._heartbeat()
            except DATABASE_GONE as error:
                seconds = min(seconds, HEARTBEAT_RETRY_SECONDS)
                if throttle.due():
                    logger.warning("{}: no heartbeat: {}", self.worker.type, reason(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._beat.wait()

    async def _heartbeat(self) -> None:
        before = self.paused
        said = str(self.troubles)
        await self.registration.heartbeat(self.commands.status, stats=self.stats(), last_error=said)
        async with self.beaten:
            self.heartbeats += 1
            self.beaten.notify_all()
        if self.paused != before:
            self.announce()
        self.commands.obey()
        await self.commands.mind_memory()

    async def _say_alive_without_session(self) -> None:
        while True:
            await self.listener.unseen.wait()
            self.beat()
            await asyncio.sleep(SESSIONLESS_HEARTBEAT_SECONDS)

    def _config_changed(self) -> None:
        self.beat()  # the heartbeat reloads, and shows a pause at once
        self.announce()  # chains and assets are configuration too

    async def _reload(self) -> None:
        async with self.pool.connection() as connection:
            config = await RuntimeConfig.load(connection, self.config)
        self.listener.gate.enabled = config.notify.gate
        if config != self.config:
            if config.paused != self.config.paused:
                logger.info("{}: {}", self.worker.type, "the system is paused" if config.paused else "resumed")
            self.config = config
            self.announce()

    async def _reconnected(self) -> None:
        await self.pool.drain()
        with contextlib.suppress(*DATABASE_GONE):  # else at the first number that is taken, or by the sweep
            await self.advance_sequences()  # it may be another server, which got rows and no sequences
        self.beat()
        self.announce()

    async def _deregister(self) -> None:
        if self.registration.orders.desired is Desired.STOPPED:  # nothing is held any more
            self.registration.obeyed(self.registration.orders.generation)
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                ended = not (self.begins_anew and self.registration.managed_by is None)
                await self.registration.deregister(ended=ended, stats=self.stats(), last_error=str(self.troubles))
        except DATABASE_GONE as error:
            logger.warning("{}: could not deregister: {}", self.worker.type, reason(error))
        logger.info("{}: stopped", self.worker.type)

    def stats(self) -> dict[str, Any]:
        """As they stand in worker_registry.stats with each heartbeat."""
        listening = {
            "notifications": dict(self.listener.received),
            "bursts": self.listener.gate.bursts,
            "reconnects": self.listener.reconnects,
            "listening": self.listener.listening.is_set(),
            "notification_queue": round(self.listener.queue.share, 3),
        }
        if (resident := resident_bytes()) is not None:
            listening["memory_bytes"] = resident
        if self.commands.memory.restarts is not None:
            listening["memory_restarts"] = self.commands.memory.restarts
        return {**self.worker.stats(), **self.rescue.counts, **self.attempts.stats(), **listening}

    def announce(self) -> None:
        """Something changed that ``watch`` is for."""
        for callback in self._watchers:
            callback()
