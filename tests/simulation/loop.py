"""The event loop of one simulated process. It never runs by itself: ``step`` runs the next thing that is ready.

Everything the process waits for goes through here or through the seams in ``database`` and ``node``, so a process that
is not stepped any more is dead: none of its ``finally`` and ``except`` runs, as after SIGKILL.
"""

import asyncio
import contextvars
import heapq
import itertools
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from tests.simulation.clock import Clock


class ProcessLoop(asyncio.AbstractEventLoop):
    """``errors`` are exceptions that nobody took, such as those of tasks that were dropped."""

    def __init__(self, clock: Clock) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        """Kept alive until they are done: a suspended coroutine that is freed runs its clean-up."""
        self.errors: list[dict[str, Any]] = []
        self._clock = clock
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._dead = False
        self._prune_at = 64

    # -- for the simulation

    def step(self) -> None:
        """Run the next thing that is ready."""
        handle = self.ready.popleft()
        if handle.cancelled():
            return
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._finish_generator)
        try:
            handle._run()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)

    def due(self) -> float | None:
        """When the next timer goes off."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def wake(self) -> None:
        """Make timers ready whose time has come."""
        while (due := self.due()) is not None and due <= self._clock.now:
            self.ready.append(heapq.heappop(self._timers)[2])

    def die(self) -> None:
        """Nothing of this process runs any more."""
        self._dead = True
        self.ready.clear()
        self._timers.clear()
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def bury(self) -> None:
        """Let go of what it held. Coroutines that are freed now run their clean-up, into seams that are closed."""
        self.tasks.clear()

    # -- for asyncio

    def time(self) -> float:
        return self._clock.now

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._dead:
            self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._clock.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._dead:
            heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **options)
        self.tasks.append(task)
        if len(self.tasks) > self._prune_at:
            self.tasks = [one for one in self.tasks if not one.done()]
            self._prune_at = 64 + 2 * len(self.tasks)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._dead:
            self.errors.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is thrown away when its time comes."""

    def _finish_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._dead:
            self.create_task(generator.aclose())
