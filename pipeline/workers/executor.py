"""The listener of one job type: wakes, claims, runs the handler, writes the outcomes, and looks again.

    asleep ──(NOTIFY, timer, a job due, outcomes)──▶ exchange ──▶ a task per batch ──▶ outcomes ──▶ exchange …

One loop speaks to the queue. An *exchange* writes the outcomes at hand and claims new work in one round trip, so
that a flag which is still up when its job ends gets the next job in the same transaction. The wake-up is cleared before
the exchange; what rings in between rings again.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from loguru import logger

from pipeline.db.errors import DATABASE_GONE
from pipeline.printable import reason
from pipeline.queue.due_jobs import DUE_CHECK_SECONDS, Waiting
from pipeline.queue.flag_scan import Looks
from pipeline.queue.jobs import Defer, Done, Failed, Handler, Job, JobType, Outcome, Parked, Retry, TriggeredBy
from pipeline.queue.queue import Exchange, JobQueue
from pipeline.workers.process import Stopped
from pipeline.workers.runtime import HAND_BACK_SECONDS, Runtime

CHANNELS = ("wallet_flags", "jobs")

FLUSH_SECONDS = 0.02
"""How long an outcome waits for others to be written with. Payments do not wait: they write their own commits."""
DATABASE_PAUSE_SECONDS = 1.0
"""A handler that lost the database waits this long from when it is back, without using up an attempt."""
DEADLINE_MARGIN = 0.95
"""A handler is cut off a little before the database lets others rescue its jobs."""

Observer = Callable[[Job, Outcome, bool], None]
"""Told of each outcome once it is written, and whether the job was still ours."""


class Executor:
    """Runs jobs of one type with ``handler``. A ``runtime.Worker``."""

    role = "pipeline_executor"
    channels: Sequence[str] = CHANNELS

    def __init__(
        self,
        job_type: JobType,
        handler: Handler,
        *,
        chain_ids: Sequence[int] | None = None,
        blockchain: str | None = None,
        observer: Observer | None = None,
    ) -> None:
        """``chain_ids`` None: every active chain; ``blockchain`` names them for people."""
        self.job_type = job_type
        self.type: str = job_type.value
        self.blockchain = blockchain
        self.handler = handler
        self.chain_ids = chain_ids
        self.looked = asyncio.Event()
        """Set once what was flagged before the start has been read; from now on only bells and timers count."""
        self.counts: Counter[str] = Counter()
        self._observer = observer
        self._bell = asyncio.Event()
        self._call: TriggeredBy | None = None
        self._look_again = True
        self._backlog = True
        self._next_sweep = 0.0
        self.looks = Looks()
        self.waiting = Waiting()
        self._reconnects = 0
        self._held: dict[Job, None] = {}
        self._outcomes: list[tuple[Job, Outcome]] = []
        self._oldest_outcome = 0.0
        self._batches: set[asyncio.Task[None]] = set()
        self._runtime: Runtime
        self._queue: JobQueue

    def stats(self) -> Mapping[str, Any]:
        """Counts since the start (jobs by what triggered them, outcomes by kind), and the jobs held now."""
        return {**self.counts, "held": len(self._held)}

    def serve_chains(self, chain_ids: Sequence[int]) -> None:
        """From now on work on these chains, and look at once for what they have."""
        self.chain_ids = chain_ids
        self.looks.start_afresh()
        self.waiting.may_be_more()
        self._call = self._call or TriggeredBy.SYSTEM
        self._bell.set()

    async def run(self, runtime: Runtime) -> None:
        """Work until told to stop; then finish what is held within the grace, and hand back the rest."""
        self._runtime = runtime
        self._queue = JobQueue(
            runtime.pool, runtime.registration.incarnation, chain_ids=self.chain_ids, config=runtime.config.queue
        )
        self._next_sweep = _now() + runtime.config.sweep.interval_seconds
        runtime.watch(self._changed)
        runtime.listener.watch("wallet_flags", self._heard)
        runtime.listener.watch("jobs", self._heard_of_jobs)
        try:
            while not runtime.stopping.is_set():
                await self._turn()
                self.looked.set()
                await self._nap()
        except Stopped:
            pass
        finally:
            await self._wind_up()

    # -- waking -----------------------------------------------------------------------------------

    def _changed(self) -> None:
        self.waiting.may_be_more()  # a chain that was switched on has jobs that nobody rang for
        self._bell.set()

    def _heard(self) -> None:
        self._call = self._call or TriggeredBy.EVENT
        self._bell.set()

    def _heard_of_jobs(self) -> None:
        self.waiting.may_be_more()
        self._heard()

    def _answer_call(self, call: TriggeredBy) -> TriggeredBy:
        """Clear the call before the tables are read, so that what rings in between rings again."""
        self._call = None
        self.counts[f"wakes_by_{call}"] += 1
        return call

    async def _nap(self) -> None:
        """Sleep until something calls: a bell, a timer, outcomes that have waited long enough."""
        seconds = self._seconds_to_sleep(_now())
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._bell.wait()
        else:
            await asyncio.sleep(0)  # lets batches and bells run even if this loop always has something to do
        self._bell.clear()

    def _seconds_to_sleep(self, now: float) -> float:
        wakes = [now + DUE_CHECK_SECONDS]
        if self._outcomes:
            wakes.append(self._oldest_outcome + FLUSH_SECONDS if self._batches else now)
        if self._call and not self._runtime.paused:
            wakes.append(now)
        if self._room() > 0 and not self._runtime.paused:
            wakes += [now if self._look_again else self.waiting.next_due, self._next_sweep, self.looks.next_owed]
        return min(wakes) - now

    def _room(self) -> int:
        return self._queue.config.concurrency - len(self._held)

    # -- the loop ---------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Answer whatever called with at most one exchange."""
        now = _now()
        self._queue.config = self._runtime.config.queue
        self._queue.chain_ids = None if self.chain_ids is None else list(self.chain_ids)
        self._next_sweep = min(self._next_sweep, now + self._runtime.config.sweep.interval_seconds)
        if self._runtime.listener.reconnects != self._reconnects:
            self._reconnects = self._runtime.listener.reconnects
            await self._runtime.persist("looking after a reconnect", self._release_unheld)
            self._call = TriggeredBy.SWEEP  # nobody knows what was rung in the meantime
            self.waiting.may_be_more()
            self.looks.start_afresh()
        flush = bool(self._outcomes) and (not self._batches or now >= self._oldest_outcome + FLUSH_SECONDS)
        room = self._room() + (len(self._outcomes) if flush else 0)
        if self._runtime.paused:
            if flush:
                await self._exchange(0, TriggeredBy.SYSTEM)
            self._look_again = self._backlog = True  # for the time when the pause is over
            self.waiting.may_be_more()
        elif room <= 0:
            if self._call:
                await self._enqueue_backlog(self._answer_call(self._call))
        elif self._call:
            self._backlog = True
            await self._look(room, self._answer_call(self._call))
        elif now >= self._next_sweep:
            self._next_sweep = now + self._runtime.config.sweep.interval_seconds
            self._backlog = True
            self.waiting.may_be_more()
            self.counts["wakes_by_sweep"] += 1
            # Younger flags are not missed events: their doorbell is on its way.
            await self._look(room, TriggeredBy.SWEEP, min_age_seconds=self._runtime.config.sweep.grace_seconds)
        elif flush or self._look_again or now >= self.looks.next_owed:
            await self._look(room, TriggeredBy.SYSTEM)
        elif now >= self.waiting.next_due:
            await self._look(room, TriggeredBy.SYSTEM, enqueue=False)

    async def _look(
        self, room: int, triggered_by: TriggeredBy, *, enqueue: bool = True, min_age_seconds: float = 0
    ) -> None:
        """Exchange, start what was claimed, and learn when to look again. What is due is asked only where that may have
        changed: a flag that was served is two round trips, and the next one does not wait for more."""
        started = _now()
        reach = None if min_age_seconds else self.looks.reach(started)
        since = self.waiting.since(started)
        claimed = await self._exchange(
            room,
            triggered_by,
            enqueue=enqueue,
            min_age_seconds=min_age_seconds,
            newer_than_seconds=reach,
            due_since=since,
        )
        if claimed is None:
            self.waiting.may_be_more()
            self._call = self._call or triggered_by
            return
        self._look_again = len(claimed) >= room
        if self._look_again:
            self.waiting.may_be_more()
        if enqueue and not min_age_seconds and len(claimed) < min(room, self._queue.config.enqueue_batch):
            self.looks.note(started, reach, _now())
        if claimed:
            self._start(claimed)
            await asyncio.sleep(0)  # the handler begins now, and not once the next question is on its way
        if self._look_again and self._backlog and enqueue:
            await self._enqueue_backlog(triggered_by, min_age_seconds)
        self._backlog = self._backlog and not enqueue
        if not self._look_again and self.waiting.is_to_be_asked(since):
            seconds = await self._runtime.persist("asking what is due", lambda: self._queue.next_due(self.job_type))
            self.waiting.note(since, seconds, _now())

    async def _enqueue_backlog(self, triggered_by: TriggeredBy, min_age_seconds: float = 0) -> None:
        """Queue what there is no room for. A flag without a job would look like a missed event to the sweep."""
        self.waiting.may_be_more()
        batch = self._queue.config.enqueue_batch
        started = _now()
        reach = None if min_age_seconds else self.looks.reach(started)
        await self._runtime.persist(
            "queueing flagged wallets",
            lambda: self._queue.enqueue_flagged(
                self.job_type,
                triggered_by,
                batch=batch,
                min_age_seconds=min_age_seconds,
                newer_than_seconds=reach,
            ),
        )
        if not min_age_seconds:
            self.looks.note(started, reach, _now())

    async def _exchange(
        self,
        room: int,
        triggered_by: TriggeredBy,
        *,
        enqueue: bool = True,
        min_age_seconds: float = 0,
        newer_than_seconds: float | None = None,
        due_since: float | None = None,
    ) -> list[Job] | None:
        """Write the outcomes at hand and claim up to ``room`` jobs, however long the database is away. None: there was
        an outcome that cannot be written, and nobody has looked."""
        outcomes, self._outcomes = self._outcomes, []
        failed = False

        async def attempt() -> Exchange:
            nonlocal failed
            again, failed = failed, True
            if again:
                await self._release_unheld()
            return await self._queue.exchange(
                outcomes,
                self.job_type,
                room,
                triggered_by,
                enqueue=enqueue,
                min_age_seconds=min_age_seconds,
                newer_than_seconds=None if again else newer_than_seconds,
                due_within_seconds=None if again or due_since is None else _now() - due_since,
            )

        try:
            exchange = await self._runtime.persist("exchange with the queue", attempt)
        except Stopped:
            self._outcomes = outcomes + self._outcomes
            raise
        except (psycopg.Error, TypeError, ValueError) as error:
            if not outcomes:
                raise
            logger.error("{}: a batch of outcomes was refused: {}; writing them one by one", self.type, reason(error))
            await self._write_singly(outcomes)
            return None
        self._written(outcomes, exchange.finished)
        return exchange.claimed

    async def _write_singly(self, outcomes: Sequence[tuple[Job, Outcome]]) -> None:
        """One bad outcome (data that is no JSON, a refused status) must not hold up the others for ever."""
        for job, outcome in outcomes:
            written: Outcome = outcome
            try:
                finished = await self._queue.finish([(job, outcome)])
            except (psycopg.Error, TypeError, ValueError) as error:
                if isinstance(error, DATABASE_GONE):
                    self._settle(job, outcome)
                    continue
                written = Failed(f"the outcome {outcome!r} could not be written: {reason(error)}")
                finished = await self._queue.finish([(job, written)])
            self._written([(job, written)], finished)

    async def _release_unheld(self) -> None:
        """Give back what a claim brought whose answer never arrived."""
        released = await self._queue.release_unheld(list(self._held))
        if released:
            self.waiting.may_be_more()
            logger.warning("{}: {} jobs claimed by a lost reply were given back", self.type, len(released))

    def _written(self, outcomes: Sequence[tuple[Job, Outcome]], finished: frozenset[UUID]) -> None:
        for job, outcome in outcomes:
            self._held.pop(job, None)
            if isinstance(outcome, Retry | Defer):
                self.waiting.delayed()
            ours = job.id in finished
            self.counts[type(outcome).__name__.lower() if ours else "lost"] += 1
            _report(job, outcome, ours)
            if self._observer is not None:
                self._observer(job, outcome, ours)

    # -- batches ----------------------------------------------------------------------------------

    def _start(self, jobs: Sequence[Job]) -> None:
        self._held |= dict.fromkeys(jobs)
        self.counts.update(Counter(f"jobs_by_{job.triggered_by}" for job in jobs))
        batch = asyncio.create_task(self._run_batch(jobs))
        self._batches.add(batch)
        batch.add_done_callback(self._batch_ended)

    def _batch_ended(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        self._bell.set()

    async def _run_batch(self, jobs: Sequence[Job]) -> None:
        """Run the handler to its end; every job that it gave no outcome for is tried again."""
        left = dict.fromkeys(jobs)
        deadline = self._queue.config.deadline_seconds * DEADLINE_MARGIN
        missing: Outcome = Retry("the handler ended without an outcome for this job")
        try:
            async with asyncio.timeout(deadline) as limit:
                async for job, outcome in self.handler(jobs):
                    if job in left:
                        del left[job]
                        self._settle(job, outcome)
        except DATABASE_GONE as error:
            if limit.expired():
                missing = Retry(f"not done within {deadline:g} s (queue.deadline_seconds)")
            else:
                missing = Defer(DATABASE_PAUSE_SECONDS, f"the database went away: {reason(error)}")
        except Exception as error:
            logger.opt(exception=error).error("{}: the handler failed on {} jobs", self.type, len(left))
            missing = Retry(f"{type(error).__name__}: {reason(error)}")
        for job in left:
            self._settle(job, missing)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if not self._outcomes:
            self._oldest_outcome = _now()
        self._outcomes.append((job, outcome))
        if len(self._outcomes) == 1 or not self._batches:
            self._bell.set()

    # -- the end ----------------------------------------------------------------------------------

    async def _wind_up(self) -> None:
        """Let batches end within the grace, write what they brought, and hand back the rest."""
        if self._batches:
            await asyncio.wait(self._batches, timeout=self._runtime.grace_seconds)
        unfinished = list(self._batches)
        for batch in unfinished:
            batch.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                outcomes, self._outcomes = self._outcomes, []
                if outcomes:
                    await self._write_singly(outcomes)
                rest = list(self._held)
                if rest:
                    given = await self._queue.hand_back(rest)
                    self._held.clear()
                    logger.info("{}: handed back {} jobs", self.type, len(given))
        except DATABASE_GONE as error:
            logger.warning(
                "{}: {} jobs could not be handed back: {}; they are rescued", self.type, len(self._held), reason(error)
            )


def _report(job: Job, outcome: Outcome, ours: bool) -> None:
    """A line for what people want to see; what went well is told by the room that did it."""
    if not ours:
        logger.warning("{}: its lease was lost (rescued, or cancelled); this attempt changed nothing", job)
        return
    match outcome:
        case Done(data, _):
            logger.debug("{}: done {}", job, json.dumps(dict(data), default=str) if data else "")
        case Parked():
            logger.debug("{}: waits for the chain", job)
        case Defer(seconds, why):
            logger.info("{}: waits {:g} s: {}", job, seconds, why)
        case Retry(error) if not job.is_last_attempt:
            logger.warning("{}: attempt {} of {} failed: {}", job, job.retry_count + 1, job.max_retries, error)
        case Retry(error) | Failed(error):
            logger.error("{}: failed for good: {}", job, error)


def _now() -> float:
    return asyncio.get_running_loop().time()
