"""What operators tell a process, obeyed: pause and resume while it works, stop and start, restart, and the limit of its
memory.

    working ──(pause)──▶ paused ──(resume)──▶ working
    working, paused ──(stop)──▶ begins anew, parked ──(start)──▶ working
    working, paused, parked ──(restart, or too much memory)──▶ begins anew

NOTIFY ``workers`` is the doorbell. Every ``POLL_SECONDS`` the row is read in any case, and whether the system is
paused: a pause arrives where no NOTIFY does.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from loguru import logger

from pipeline.config import RuntimeConfig
from pipeline.db.errors import DATABASE_GONE
from pipeline.db.pool import Pool
from pipeline.db.rows import fetch_value
from pipeline.workers.memory import MemoryLimit
from pipeline.workers.registry import Desired, Registration
from pipeline.workers.troubles import Troubles

WORKERS = "workers"
"""The channel that is notified of a command, with the slot."""
POLL_SECONDS = 2.0


class Commanded(Protocol):
    """What a process has that can be told something (``runtime.Runtime``)."""

    pool: Pool
    config: RuntimeConfig
    registration: Registration
    troubles: Troubles
    stopping: asyncio.Event

    @property
    def paused(self) -> bool:
        """Whether nothing new is taken."""

    def watch(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``announce`` is called, or the process is told to end."""

    def announce(self) -> None:
        """Call whoever watches."""

    def beat(self) -> None:
        """Send a heartbeat now."""

    def stop(self, *, anew: bool = False) -> None:
        """Hand back and end; with ``anew`` begin again then."""


class Commands:
    """The commands to one process."""

    def __init__(
        self,
        process: Commanded,
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.parked = False
        """Whether the process is stopped and has not begun to work."""
        self.memory = MemoryLimit()
        self._process = process
        self._poll_seconds = poll_seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """A command may have been given: to be called at NOTIFY ``workers``."""
        self._woken.set()

    @property
    def status(self) -> str:
        """What the registry is told: running, paused or stopped."""
        if self.parked:
            return "stopped"
        return "paused" if self._process.paused else "running"

    async def keep_obeying(self) -> None:
        """Obey until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self._ask()
            except LookupError:
                self._process.beat()  # a heartbeat registers again
            except DATABASE_GONE as error:
                logger.debug("{}: its row was not read: {}", self._process.registration.type, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._woken.wait()

    async def until_started(self) -> None:
        """Wait, if the slot is stopped, until it is started, or until the process is told to end. Hold nothing
        meanwhile."""
        process = self._process
        if process.registration.orders.desired is not Desired.STOPPED:
            return
        self.parked = True
        logger.info(
            "{}: stopped by an operator: waits for: flagpost workers start {}",
            process.registration.type,
            process.registration.slot,
        )
        changed = asyncio.Event()
        process.watch(changed.set)
        self.obey()
        process.beat()
        while process.registration.orders.desired is Desired.STOPPED and not process.stopping.is_set():
            await changed.wait()
            changed.clear()
        self.parked = False

    def obey(self) -> None:
        """Carry out what the registry says now."""
        process, registration = self._process, self._process.registration
        orders = registration.orders
        if registration.restart_due:
            self._begin_anew("told to restart")
        elif orders.desired is Desired.STOPPED and not self.parked:
            self._begin_anew("told to stop")
        elif registration.observed < orders.generation:
            registration.obeyed(orders.generation)
            logger.info("{}: told to be {}", process.registration.type, orders.desired.value)
            process.beat()
            process.announce()

    async def mind_memory(self) -> None:
        """Begin anew where the process has more memory than ``workers.memory_limit_mb`` allows, and say so where that
        did not help. Not an agent of a host: all of its workers would begin anew with it. Raises psycopg errors."""
        process, memory = self._process, self.memory
        if process.registration.type == "host":
            return
        if memory.restarts is None:
            async with process.pool.connection() as connection:
                memory.restarts = await fetch_value(
                    connection, "workers/memory_restarts", incarnation=process.registration.incarnation
                )
        process.troubles.say("memory", memory.judge(process.config.workers.memory_limit_mb))
        if memory.restart_due and not process.stopping.is_set():
            memory.restarts += 1
            process.beat()  # counted also where the process is killed before its end
            self._begin_anew(memory.restart_due)

    def _begin_anew(self, why: str) -> None:
        if not self._process.stopping.is_set():
            logger.warning("{}: {}: hands back what it holds", self._process.registration.type, why)
            self._process.stop(anew=True)

    async def _ask(self) -> None:
        process = self._process
        paused = await process.registration.read_orders()
        if paused != process.config.paused:
            process.beat()  # a heartbeat reads the configuration
        self.obey()
