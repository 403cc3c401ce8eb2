"""A worker with everything of its process: the runtime, the pool, the doorbell, and an event loop of its own."""

import asyncio
import contextlib
import gc
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import psycopg
from psycopg import Notify

from pipeline.db.listener import LONGEST_PAUSE, Listener
from pipeline.settings import Settings
from pipeline.workers.runtime import Runtime, Worker
from tests.simulation.connection import Connection
from tests.simulation.fault_plan import Decision
from tests.simulation.loop import ProcessLoop

CHECK_SECONDS = 10.0
"""Between two looks for dead workers: a third of all round trips otherwise."""

POLLING_SECONDS = 4.0
"""Of a listener that a NOTIFY has woken: long enough for others to change flags, and to skip theirs."""

Place = tuple[str, int]
"""Where in our code something stood: file below the repository, and line."""


class World(Protocol):
    """What a process sees of the simulation."""

    def happens(self, kind: str) -> Decision | None: ...

    def after(self, seconds: float, what: Callable[[], None]) -> None: ...


class Process:
    """Alive from ``begin`` until it ended, was killed, or the run is over."""

    def __init__(self, world: World, kind: str, number: int, loop: ProcessLoop) -> None:
        self.kind = kind
        self.name = f"{kind}.{number}"
        self.number = number
        self.loop = loop
        self.alive = True
        self.frozen = False
        """Stands still, as after SIGSTOP."""
        self.connections: list[Connection] = []
        self.doorbells: list[Doorbell] = []
        self.runtime: Runtime
        self.life: asyncio.Task[None]
        self._world = world

    def begin(self, settings: Settings, make: Callable[[Settings], Worker]) -> None:
        """Start the worker as ``serve`` does. Called while the process is current."""

        async def live() -> None:
            self.runtime = Runtime(settings, make(settings), check_seconds=CHECK_SECONDS, command_seconds=CHECK_SECONDS)
            self.runtime.registration.pid = self.number
            self.runtime.registration.name = f"{self.kind}@simulation:{self.number}"
            await self.runtime.run()

        self.life = self.loop.create_task(live(), name=self.name)

    @property
    def is_ready(self) -> bool:
        return bool(self.loop.ready) and self.alive and not self.frozen

    # -- what befalls it

    def die(self) -> None:
        """SIGKILL: from here on none of its code runs, and the server finds its connections closed."""
        self.alive = False
        self.loop.die()
        for connection in self.connections:
            connection.break_off()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False

    def cut_connections(self) -> None:
        """All of them at once, as by a restart of the server."""
        for connection in self.connections:
            connection.break_off()
        for doorbell in self.doorbells:
            doorbell.lose()

    def idle_transactions_end(self) -> None:
        """The server ends the sessions with an open transaction of a process that stands still."""
        for connection in self.connections:
            if connection.backend is not None and connection.in_transaction:
                connection.break_off()

    def places(self) -> list[Place]:
        """Where its tasks stand in our code: the innermost await of each."""
        found = (_innermost(task.get_coro()) for task in self.loop.tasks if not task.done())
        return sorted({place for place in found if place is not None})

    # -- seams

    async def pause(self) -> None:
        await asyncio.sleep(0)

    def loses(self, connection: Connection, *, answered: bool) -> bool:
        return self._world.happens("answer" if answered else "ask") is not None


class Doorbell(Listener):
    """Notified by the simulation, which receives every NOTIFY that was committed. Its session is there to be missed,
    and to hold the locks of the gate, to which every NOTIFY is a burst and every burst a long one."""

    process: Process
    connect: Callable[[str], Connection]
    _session: Connection | None = None
    _finding = False
    _stepping = False

    async def start(self) -> None:
        self.process.doorbells.append(self)
        self.gate.burst, self.gate.poll_seconds = 1, POLLING_SECONDS
        await self._open_session()
        self._set_listening(True)
        self._mind_gate()

    async def close(self) -> None:
        if self in self.process.doorbells:
            self.process.doorbells.remove(self)
        self.lose()

    def deliver(self, channel: str, payload: str) -> None:
        if self.listening.is_set() and channel in self.channels:
            self._receive(Notify(channel, payload, 0))
            self._mind_gate()

    def lose(self) -> None:
        """The session is gone, and with it whatever is notified until it is back."""
        self._set_listening(False)
        session, self._session = self._session, None
        if session is not None:
            session.break_off()

    def find_again(self) -> None:
        """Called in a step of the process."""
        if not self.listening.is_set() and not self._finding:
            self._finding = True
            self.process.loop.create_task(self._find_again())

    async def _find_again(self) -> None:
        await self._open_session()
        self._finding = False
        if self in self.process.doorbells:
            self._set_listening(True)
            self._mind_gate()
            await self._announce_reconnect()
        else:
            self.lose()

    async def _open_session(self) -> None:
        while True:
            try:
                session = self._session = self.connect(self._dsn)
                self._lock.lose()
                await self._take_lock(session)
                if self._gated is not None:
                    await self.gate.open(session)
            except psycopg.Error:
                await asyncio.sleep(LONGEST_PAUSE)
            else:
                return

    def _mind_gate(self) -> None:
        if not self._stepping and self.gate.seconds_left < math.inf:
            self._stepping = True
            self.process.loop.create_task(self._step_gate())

    async def _step_gate(self) -> None:
        """What the loop of the real one does between two notifications."""
        try:
            while (session := self._session) is not None and self.gate.seconds_left < math.inf:
                if self.gate.seconds_left > 0:
                    await asyncio.sleep(self.gate.seconds_left)
                else:
                    await self.gate.step(session)
        except psycopg.Error:
            if session is self._session:
                self.lose()
                self.process.loop.call_later(LONGEST_PAUSE, self.find_again)
        finally:
            self._stepping = False


def _innermost(awaitable: Any) -> Place | None:
    """The last line of ours on the way down to what a suspended coroutine waits for."""
    place = None
    for _ in range(100):
        frame = next(
            (found for name in ("cr_frame", "gi_frame", "ag_frame") if (found := getattr(awaitable, name, None))), None
        )
        if frame is not None and "/pipeline/" in frame.f_code.co_filename:
            place = "pipeline/" + frame.f_code.co_filename.rpartition("/pipeline/")[2], frame.f_lineno
        below = next(
            (found for name in ("cr_await", "gi_yieldfrom", "ag_await") if (found := getattr(awaitable, name, None))),
            None,
        )
        if below is None and type(awaitable).__name__ in ("async_generator_asend", "async_generator_athrow"):
            # It does not say whose step it is.
            below = next((one for one in gc.get_referents(awaitable) if hasattr(one, "ag_frame")), None)
        if below is None:
            return place
        awaitable = below
    return place


@contextlib.contextmanager
def whole_garbage() -> Iterator[None]:
    """Garbage is collected between runs only: what the dead left would else be freed in the middle of another run. What
    was there before is not looked at each time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def bury(processes: Sequence[Process]) -> None:
    """Free what the dead held. Coroutines run their clean-up now, which ends at the closed seams and is told to
    nobody."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that nobody came to await
            for process in processes:
                process.loop.tasks.clear()
                process.__dict__.clear()
            # One that awaits in its clean-up is only then free to be collected.
            while gc.collect():
                pass
    finally:
        sys.unraisablehook = hook
