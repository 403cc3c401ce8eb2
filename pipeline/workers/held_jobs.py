"""Jobs that an executor has claimed: batches of its handler under way, and outcomes that are not written yet."""

import asyncio
import math
from collections.abc import Callable, Sequence

from loguru import logger

from pipeline.db.errors import DATABASE_GONE
from pipeline.printable import reason
from pipeline.queue.jobs import Defer, Handler, Job, Outcome, Retry

FLUSH_SECONDS = 0.02
"""How long an outcome waits for others to be written with. Payments do not wait: they write their own commits."""
DATABASE_PAUSE_SECONDS = 1.0
"""A handler that lost the database waits this long from when it is back, without using up an attempt."""
DEADLINE_MARGIN = 0.95
"""A handler is cut off a little before the database lets others rescue its jobs."""


class HeldJobs:
    """What one executor holds. A job is held from its claim until its outcome is written, or it is handed back."""

    def __init__(self, name: str, handler: Handler, changed: Callable[[], None]) -> None:
        """``name`` is for the log; ``changed`` is called when there is something to write, or room."""
        self.held: dict[Job, float] = {}
        """With the time of the event loop at which each was claimed."""
        self._name = name
        self._handler = handler
        self._changed = changed
        self._outcomes: list[tuple[Job, Outcome]] = []
        self._oldest_outcome = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def start(self, jobs: Sequence[Job], deadline_seconds: float) -> None:
        """Run the handler on ``jobs``; it is cut off before ``deadline_seconds``."""
        self.held.update(dict.fromkeys(jobs, asyncio.get_running_loop().time()))
        batch = asyncio.create_task(self._run(jobs, deadline_seconds * DEADLINE_MARGIN))
        self._running.add(batch)
        batch.add_done_callback(self._ended)

    @property
    def write_at(self) -> float:
        """When outcomes are to be written, by the time of the event loop; infinity: there are none."""
        if not self._outcomes:
            return math.inf
        return self._oldest_outcome + FLUSH_SECONDS if self._running else -math.inf

    @property
    def outcomes(self) -> int:
        """How many outcomes are not written."""
        return len(self._outcomes)

    @property
    def oldest_seconds(self) -> float:
        """How long the job that is held longest has been held; 0 where none is."""
        return asyncio.get_running_loop().time() - min(self.held.values()) if self.held else 0.0

    def take_outcomes(self) -> list[tuple[Job, Outcome]]:
        """All outcomes, to be written now: each comes back by ``written``, ``give_back`` or ``settle``."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def give_back(self, outcomes: list[tuple[Job, Outcome]]) -> None:
        """These were not written."""
        self._outcomes = outcomes + self._outcomes

    def written(self, job: Job) -> float | None:
        """The job's outcome is in the database: it is held no more. When it was claimed, by the time of the event
        loop; None: it was not held."""
        return self.held.pop(job, None)

    def settle(self, job: Job, outcome: Outcome) -> None:
        """The job has come to ``outcome``, which is to be written."""
        if not self._outcomes:
            self._oldest_outcome = asyncio.get_running_loop().time()
        self._outcomes.append((job, outcome))
        if len(self._outcomes) == 1 or not self._running:
            self._changed()

    async def end(self, grace_seconds: float) -> None:
        """Let batches end within the grace, and cancel the rest: their jobs stay held, without an outcome."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace_seconds)
        unfinished = list(self._running)
        for batch in unfinished:
            batch.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _run(self, jobs: Sequence[Job], deadline: float) -> None:
        """Run the handler to its end; every job that it gave no outcome for is tried again."""
        left = dict.fromkeys(jobs)
        missing: Outcome = Retry("the handler ended without an outcome for this job")
        try:
            async with asyncio.timeout(deadline) as limit:
                async for job, outcome in self._handler(jobs):
                    if job in left:
                        del left[job]
                        self.settle(job, outcome)
        except DATABASE_GONE as error:
            if limit.expired():
                missing = Retry(f"not done within {deadline:g} s (queue.deadline_seconds)")
            else:
                missing = Defer(DATABASE_PAUSE_SECONDS, f"the database went away: {reason(error)}")
        except Exception as error:  # a job that is held has to come to an outcome, whatever its handler does
            logger.opt(exception=error).error("{}: the handler failed on {} jobs", self._name, len(left))
            missing = Retry(f"{type(error).__name__}: {reason(error)}")
        for job in left:
            self.settle(job, missing)

    def _ended(self, batch: asyncio.Task[None]) -> None:
        self._running.discard(batch)
        self._changed()
