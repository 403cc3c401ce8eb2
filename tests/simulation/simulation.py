"""The simulation itself: who runs next, and when time passes.

somebody has something to do   one of them, chosen by the seed, does one step of it (a place to die)
nobody has                     notifications that were committed are delivered; else time passes to the next event
"""

import asyncio
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.catalog.chains import chain_opener
from pipeline.settings import Settings
from pipeline.workers import confirmations, consolidation, gas_topup
from pipeline.workers.runtime import Worker
from pipeline.workers.sweep import Sweep
from pipeline.workers.sync import Sync
from tests.simulation.clock import Clock
from tests.simulation.database import STATEMENT_SECONDS, Database
from tests.simulation.fault_plan import Decision, FaultPlan
from tests.simulation.loop import ProcessLoop
from tests.simulation.network import Network
from tests.simulation.process import Place, Process

MAKERS: dict[str, Callable[[Settings], Worker]] = {
    "gas-topup": gas_topup.create,
    "consolidation": consolidation.create,
    "confirmations": confirmations.create,
    "sweep": lambda _: Sweep(),
    "sync": lambda settings: Sync(chain_opener(settings)),
}
STAYS = 0.7
"""How often the process that has just run goes on, if it can."""
MOST_STEPS = 60_000
"""Ten times as many as most runs take: one that takes more goes round in circles."""


class Simulation:
    """One run's processes, its network, and its time."""

    def __init__(
        self, seed: int, clock: Clock, database: Database, network: Network, fault_plan: FaultPlan, settings: Settings
    ) -> None:
        self.clock = clock
        self.database = database
        self.network = network
        self.fault_plan = fault_plan
        self.settings = settings
        self.processes: list[Process] = []
        """Those that run."""
        self.dead: list[Process] = []
        self.current: Process | None = None
        self.happened: Counter[str] = Counter()
        self.died_at: Counter[Place] = Counter()
        self.faults: list[str] = []
        """What must never happen and did while it ran."""
        self.steps = 0
        self.trace: Callable[[str], None] | None = None
        self._schedule = random.Random(f"{seed} schedule")
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)

    # -- processes

    def start(self, kind: str) -> Process:
        process = Process(self, kind, next(self._numbers), ProcessLoop(self.clock))
        self.processes.append(process)
        self.tell("{} starts", process.name)
        self._as(process, lambda: process.begin(self.settings, MAKERS[kind]))
        return process

    def kill(self, process: Process) -> None:
        """SIGKILL, and another one takes its place a while later."""
        places = process.places()
        self.died_at.update(places)
        self.tell("{} is killed at {}", process.name, ", ".join(f"{file}:{line}" for file, line in places))
        self.remove(process)

    def remove(self, process: Process) -> None:
        """It is not there any more."""
        process.die()
        self.processes.remove(process)
        self.dead.append(process)
        self._settle()

    def start_again(self, kind: str) -> None:
        """As a supervisor does."""
        self.start(kind)

    def ask_to_stop(self, process: Process) -> None:
        """SIGTERM."""
        if hasattr(process, "runtime"):
            self._as(process, process.runtime.stop)

    def cut(self, process: Process, seconds: float) -> None:
        """All its connections at once; its doorbell is back a little later."""
        self._as(process, process.cut_connections)
        self.after(min(seconds, 5.0), lambda: self.find_doorbell(process))

    def find_doorbell(self, process: Process) -> None:
        """It listens again, and knows that it may have missed something."""
        if process.alive:
            for doorbell in list(process.doorbells):
                self._as(process, doorbell.find_again)

    def freeze(self, process: Process, seconds: float) -> None:
        """SIGSTOP and, later, SIGCONT. The server does not wait for it for ever."""
        self.tell("{} stands still for {} s", process.name, seconds)
        process.freeze()

        def idle() -> None:
            if process.frozen:
                process.idle_transactions_end()

        if seconds > STATEMENT_SECONDS:
            self.after(STATEMENT_SECONDS, idle)
        self.after(seconds, process.thaw)

    def of_kind(self, kind: str) -> list[Process]:
        return [process for process in self.processes if process.kind == kind]

    # -- time

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._order), what))

    def run_until(self, moment: float, is_over: Callable[[], bool] | None = None) -> bool:
        """Run until the clock says ``moment``, or ``is_over`` does, which is asked whenever time passes; whether it
        did."""
        while True:
            if self.turn():
                continue
            if is_over is not None and is_over():
                return True
            if not self.pass_time(moment):
                return False

    def turn(self) -> bool:
        """Something that can happen now; whether there was anything."""
        process = self._next()
        if process is not None:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise AssertionError(f"{self.steps} steps, and no end: {self.current and self.current.name}")
            fault = self.fault_plan.at("step")
            if fault is not None:
                self._befall(process, fault)
                return True
            self._as(process, process.loop.step)
            if process.life.done():
                self._ended(process)
            return True
        if self._deliver_notifications():
            return True
        if self.database.blocked and self.database.resolve_deadlock():
            self.faults.append("a deadlock in the database")
            return True
        return False

    def pass_time(self, limit: float) -> bool:
        """Go on to the next event, at most to ``limit``; False once that is reached."""
        times = [due for process in self.processes if not process.frozen and (due := process.loop.due()) is not None]
        if self._events:
            times.append(self._events[0][0])
        if (overdue := self.database.overdue_at()) is not None:
            times.append(overdue)
        soonest = min(times, default=limit)
        if soonest >= limit:
            self.clock.now = max(self.clock.now, limit)
            return False
        self.clock.now = max(self.clock.now, soonest)
        self.database.cancel_overdue()
        while self._events and self._events[0][0] <= self.clock.now:
            heapq.heappop(self._events)[2]()
            self._settle()
        for process in self.processes:
            if not process.frozen:
                process.loop.wake()
        return True

    def end(self) -> list[Process]:
        """Nothing happens any more; all that ever ran, dead."""
        for process in self.processes:
            process.die()
        self._events.clear()  # late notifications know whom they were for
        return [*self.processes, *self.dead]

    # -- seams

    def happens(self, kind: str) -> Decision | None:
        fault = self.fault_plan.at(kind)
        if fault is not None:
            self.happened[fault.what] += 1
            self.tell("{}: {} befalls {}", fault, fault.what, self.current and self.current.name)
        return fault

    async def pause(self) -> None:
        await asyncio.sleep(0)

    def tell(self, said: str, *what: object) -> None:
        if self.trace is not None:
            self.trace(said.format(*what))

    # -- one step

    def _next(self) -> Process | None:
        if self.current is not None and self.current.is_ready and self._schedule.random() < STAYS:
            return self.current
        ready = [process for process in self.processes if process.is_ready]
        return self._schedule.choice(ready) if ready else None

    def _as(self, process: Process, what: Callable[[], None]) -> None:
        self.current = process
        what()
        self._settle()

    def _settle(self) -> None:
        if self.database.has_waiters:
            self.database.settle()

    def _befall(self, process: Process, fault: Decision) -> None:
        self.tell("{}", fault)
        self.happened[fault.what] += 1
        match fault.what:
            case "kill":
                self.kill(process)
                self.after(fault.seconds, lambda: self.start_again(process.kind))
            case "freeze":
                self.freeze(process, fault.seconds)
            case "stop":
                self.ask_to_stop(process)
            case "cut":
                self.cut(process, fault.seconds)

    def _ended(self, process: Process) -> None:
        error = None if process.life.cancelled() else process.life.exception()
        if error is not None:
            self.faults.append(f"{process.name} ended with {type(error).__name__}: {error}")
        self.tell("{} has ended {}", process.name, error or "")
        self.remove(process)
        self.after(1.0, lambda: self.start_again(process.kind))

    def _deliver_notifications(self) -> bool:
        received = self.database.notifications()
        for channel, payload in received:
            for process in self.processes:
                for doorbell in process.doorbells:
                    fault = self.happens("notify")
                    if fault is not None and fault.what == "lost notify":
                        continue
                    delivery = _Delivery(process, doorbell, channel, payload)
                    if fault is not None:
                        self.after(fault.seconds, delivery)
                    else:
                        delivery()
        return bool(received)


class _Delivery:
    def __init__(self, process: Process, doorbell: Any, channel: str, payload: str) -> None:
        self._process = process
        self._deliver = lambda: doorbell.deliver(channel, payload)

    def __call__(self) -> None:
        if self._process.alive:
            self._process.loop.call_soon(self._deliver)


KINDS: Sequence[str] = tuple(MAKERS)
