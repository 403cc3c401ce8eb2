"""The agent of a host: it runs the lines of its Procfile, as many of each worker as there shall be here.

    slots taken ──▶ a process in each ──(it ends)──▶ another one, at once or after a pause (``restarts``)
         │                 └──(told to stop, given back, hung, the agent ends)──▶ SIGTERM, after 20 s SIGKILL
         └── NOTIFY ``workers``, every 2 s, and when a process ends

What runs is said by the Procfile alone: out of the database come the names of slots, their number and what operators
told them. While the database is away the processes that are there are kept, and started again where they end. When the
agent dies the kernel ends them with a SIGTERM, so that they hand back what they hold.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from pipeline.db.errors import DATABASE_GONE
from pipeline.environment import environment_of_child, program_beside
from pipeline.log import LogThrottle
from pipeline.printable import printable, reason
from pipeline.scaling.child import KILL_SECONDS, Child, described
from pipeline.scaling.hung import HungAfter, HungProcesses, Started
from pipeline.scaling.lines import PROGRAM, OtherLine, WorkerLine
from pipeline.scaling.machine import running_machine
from pipeline.scaling.output import Output
from pipeline.scaling.restarts import FAST_SECONDS, MOST_FAST, Restarts
from pipeline.scaling.slots import Slot, Slots, strays
from pipeline.workers.commands import WORKERS
from pipeline.workers.runtime import Runtime

TAKE_SECONDS = 2.0
"""Between two times that slots are taken and given back, where no NOTIFY arrives."""
TICK_SECONDS = 0.5
"""Between two looks at the processes, where nothing happens."""
STALE_SECONDS = 1.0
"""How long an end waits for what the slot is told now, before the process is started again without knowing."""
LEAVE_SECONDS = 1.0
"""For the statement that is under way when the agent ends."""
GRACE_SECONDS = 22.0
"""For the runtime: the processes of this host are killed 20 s after their SIGTERM."""


@dataclass(slots=True)
class Place:
    """One slot of a worker, or one other line: the process that it has now, and the ends of those before."""

    restarts: Restarts
    child: Child | None = None
    started: Started | None = None
    """The child as it was started, where it is a worker."""
    hung: str | None = None
    """Why the child is ended though nobody told it to end."""
    was_ours: bool = False
    """Whether the last process was a child of this agent: the next one need not wait until the slot is free."""
    given_up_at: int = 0
    """The generation at which no process was started any more."""
    ended_at: float | None = None
    """When the child ended whose end was not judged yet."""


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """What the database is to be told of a process that ended."""

    slot: str
    pid: int
    error: str | None = None


@dataclass(slots=True)
class _Counts:
    started: int = 0
    ended: int = 0
    """Without being told."""
    given_up: set[str] = field(default_factory=set)


class HostAgent:
    """The process ``flagpost host``. A ``runtime.Worker``."""

    type = "host"
    role = "pipeline_agent"
    channels: Sequence[str] = ()
    blockchain: str | None = None

    def __init__(
        self,
        workers: Sequence[WorkerLine],
        others: Sequence[OtherLine],
        output: Output,
        environment: Mapping[str, str] | None = None,
        *,
        hung_after: HungAfter | None = None,
        kill_seconds: float = KILL_SECONDS,
    ) -> None:
        """``environment``: what every process gets beside the agent's own variables; ``kill_seconds``: from a process's
        SIGTERM to its SIGKILL."""
        self.machine = running_machine()
        """Stands in its row: another agent of this host's name, on another machine, is not taken for this one."""
        self._workers = {(line.type, line.blockchain): line for line in workers}
        self._others = others
        self._output = output
        self._environment = dict(environment or {})
        self._places: dict[str, Place] = {}
        self._known: Mapping[str, Slot] = {}
        self._asked_at = 0.0
        """When the answer was asked for that is known now."""
        self._hung = HungProcesses(hung_after or HungAfter())
        self._kill_seconds = kill_seconds
        self._ended: list[ProcessEnd] = []
        self._counts = _Counts()
        self._ask = asyncio.Event()
        self._changed = asyncio.Event()

    def stats(self) -> Mapping[str, Any]:
        """Counts for worker_registry.stats."""
        return {
            "processes": sum(1 for place in self._places.values() if place.child is not None),
            "started": self._counts.started,
            "ended": self._counts.ended,
            "given_up": len(self._counts.given_up),
        }

    async def run(self, runtime: Runtime) -> None:
        """Keep the processes of this host running until ``runtime.stopping`` is set, then end them. Raises
        AgentIsThere."""
        slots = Slots(runtime.pool, runtime.registration, list(self._workers.values()))
        runtime.listener.watch(WORKERS, self._ask.set)
        runtime.watch(self._ask.set)
        runtime.watch(self._changed.set)
        taking = asyncio.create_task(self._keep_taking(slots), name="slots")
        taking.add_done_callback(lambda _: self._changed.set())
        try:
            while not runtime.stopping.is_set():
                self._changed.clear()
                if taking.done():
                    taking.result()
                await self._step(runtime)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._changed.wait()
        finally:
            await self._end_all()
            taking.cancel()
            # Not for ever: the driver waits for the answer to what it cancels, also where none comes.
            await asyncio.wait({taking}, timeout=LEAVE_SECONDS)

    async def _keep_taking(self, slots: Slots) -> None:
        """Take, give back and report until cancelled. Raises AgentIsThere."""
        throttle = LogThrottle()
        while True:
            self._ask.clear()
            asked_at = time.monotonic()
            try:
                while self._ended:
                    one = self._ended[0]
                    await slots.ended(one.slot, one.pid, one.error)
                    self._ended.pop(0)
                self._known = await slots.take(
                    [name for name, place in self._places.items() if place.child is not None]
                )
                self._asked_at = asked_at
                self._hung.answered(time.monotonic())
            except DATABASE_GONE as error:
                self._hung.interrupted()
                if throttle.due():
                    logger.warning("host: no word of its slots, keeping the processes it has: {}", reason(error))
            self._changed.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TAKE_SECONDS):
                    await self._ask.wait()

    async def _step(self, runtime: Runtime) -> None:
        self._judge_ends(runtime)
        self._end_unwanted()
        self._end_hung(runtime)
        self._forget()
        host = runtime.registration.host
        for slot in self._known.values():
            line = self._workers.get((slot.type, slot.blockchain))
            if line is not None and self._may_start(slot):
                ours = {"FLAGPOST_SLOT": slot.slot, "FLAGPOST_MANAGED_BY": host, "FLAGPOST_HOST": host}
                argv = [program_beside(line.argv[0]) if line.argv[0] == PROGRAM else line.argv[0], *line.argv[1:]]
                await self._start(runtime, slot.slot, argv, {**line.environment, **ours}, slot)
        for other in self._others:
            place = self._places.setdefault(other.name, Place(Restarts(gives_up=False)))
            if place.child is None and time.monotonic() >= place.restarts.not_before:
                argv = ["/bin/sh", "-c", other.command]
                await self._start(runtime, other.name, argv, {"FLAGPOST_HOST": host})

    def _may_start(self, slot: Slot) -> bool:
        place = self._places.setdefault(slot.slot, Place(Restarts()))
        if place.restarts.given_up and slot.generation > place.given_up_at:
            place.restarts.reset()
            self._counts.given_up.discard(slot.slot)
        return (
            slot.is_to_run
            and place.child is None
            and (slot.free or place.was_ours)
            and not place.restarts.given_up
            and time.monotonic() >= place.restarts.not_before
        )

    async def _start(
        self,
        runtime: Runtime,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        slot: Slot | None = None,
    ) -> None:
        place = self._places[name]
        child_environment = environment_of_child(**self._environment, **environment)
        if "FLAGPOST_SLOT" not in environment:
            child_environment.pop("FLAGPOST_SLOT", None)  # the agent's own, where it began anew
        try:
            place.child = await Child.start(
                name, argv, child_environment, self._output, self._child_ended, kill_seconds=self._kill_seconds
            )
        except OSError as error:
            now = time.monotonic()
            place.restarts.ended(now, now)
            self._say_end(runtime, name, place, 0, f"{Path(argv[0]).name} cannot be started: {error.strerror}")
            return
        place.hung = None
        place.started = None if slot is None else Started(place.child.pid, slot.generation, slot.incarnation)
        place.was_ours = True
        self._counts.started += 1
        logger.debug("host: started {}, pid {}", name, place.child.pid)

    def _child_ended(self) -> None:
        self._ask.set()
        self._changed.set()

    def _judge_ends(self, runtime: Runtime) -> None:
        """See which processes have ended, and when the next one may be started."""
        for name, place in self._places.items():
            child = place.child
            if child is None or child.alive:
                continue
            now = time.monotonic()
            slot = self._known.get(name)
            if place.ended_at is None:
                place.ended_at = now
                if slot is not None and child.returncode != 0:
                    self._ended.append(ProcessEnd(name, child.pid))
                self._ask.set()
            if slot is not None and self._asked_at < place.ended_at and now - place.ended_at < STALE_SECONDS:
                continue  # it may have been told to stop
            ended_at, place.child, place.ended_at = place.ended_at, None, None
            generation = 0 if place.started is None else place.started.generation
            told = child.ending or (child.returncode == 0 and slot is not None and slot.generation > generation)
            place.restarts.ended(child.began, ended_at, as_told=told)
            if not told or place.hung:
                how = f"{place.hung}: {described(child.returncode)}" if place.hung else _how(child)
                self._say_end(runtime, name, place, child.pid, how)

    def _say_end(self, runtime: Runtime, name: str, place: Place, pid: int, how: str) -> None:
        self._counts.ended += 1
        pause = max(0.0, place.restarts.not_before - time.monotonic())
        if not place.restarts.given_up:
            logger.warning(
                "host: {} ended ({}); started again {}", name, how, f"in {pause:.0f} s" if pause else "at once"
            )
            return
        why = f"given up after it ended {MOST_FAST} times within {FAST_SECONDS:.0f} s of its start, last with {how}"
        logger.error("host: {} is {}. Once that is mended: flagpost workers start {}", name, why, name)
        slot = self._known.get(name)
        place.given_up_at = 0 if slot is None else slot.generation
        self._counts.given_up.add(name)
        self._ended.append(ProcessEnd(name, pid, why))
        self._ask.set()
        runtime.beat()

    def _end_unwanted(self) -> None:
        if not self._asked_at:
            return
        others = {other.name for other in self._others}
        unkept = strays(self._known.values())
        for name, place in self._places.items():
            if place.child is None or name in others:
                continue
            slot = self._known.get(name)
            # A stray has registered in another slot than it was started for, because that was not free in time.
            is_stray = slot is not None and (slot.type, slot.blockchain, place.child.pid) in unkept
            if slot is None or not slot.is_to_run or (is_stray and place.child.pid != slot.pid):
                place.child.end()

    def _end_hung(self, runtime: Runtime) -> None:
        """Its end is a death like any other: what it held is rescued, and its payments are looked for on the chain."""
        running = {
            name: place.started
            for name, place in self._places.items()
            if place.child is not None and place.started is not None and place.child.alive and not place.child.ending
        }
        for name, why in self._hung.find(running, self._known, runtime.config.heartbeat_seconds).items():
            place = self._places[name]
            assert place.child is not None  # noqa: S101 - for the type checker
            place.hung = why
            logger.error("host: {}, pid {}, hangs: {}; ending it", name, place.child.pid, why)
            place.child.end()

    def _forget(self) -> None:
        """Slots that were given back; what comes of them is for whoever takes them next."""
        kept = {*self._known, *(other.name for other in self._others)}
        for name in [name for name, place in self._places.items() if place.child is None and name not in kept]:
            del self._places[name]
            self._counts.given_up.discard(name)

    async def _end_all(self) -> None:
        children = [place.child for place in self._places.values() if place.child is not None]
        for child in children:
            child.end()
        await asyncio.gather(*(child.wait() for child in children))


def _how(child: Child) -> str:
    """How it ended, with its last line where that may say why."""
    code = child.returncode
    last = child.last_lines[-1] if child.last_lines and code > 0 else ""
    return f"{described(code)}: {printable(last)}" if last else described(code)
