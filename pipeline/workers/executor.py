"""The listener of one job type: claims, runs the handler, writes the outcomes.

    waiting ──(``queue.schedule`` says when)──▶ exchange ──▶ a task per batch ──▶ outcomes ──▶ exchange …

One loop speaks to the queue. An *exchange* writes the outcomes at hand and claims new work in one round trip, so
that a flag which is still up when its job ends gets the next job in the same transaction.
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
from pipeline.metrics.jobs import JobMeasures
from pipeline.printable import reason
from pipeline.queue.jobs import Defer, Done, Failed, Handler, Job, JobType, Outcome, Parked, Retry
from pipeline.queue.queue import Exchange, JobQueue
from pipeline.queue.schedule import Scan, Schedule
from pipeline.workers.held_jobs import HeldJobs
from pipeline.workers.process import Stopped
from pipeline.workers.runtime import HAND_BACK_SECONDS, Runtime

CHANNELS = ("wallet_flags", "jobs")

Observer = Callable[[Job, Outcome, bool], None]
"""Told of each outcome once it is written, and whether the job was still ours."""


class Executor:
    """Runs jobs of one type with ``handler``. A ``runtime.Worker``."""

    role = "pipeline_executor"
    channels: Sequence[str] = CHANNELS
    together: int | None = None
    """The most jobs that one run of the handler gets; None: all that were claimed."""

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
        self.chain_ids = chain_ids
        self.scanned = asyncio.Event()
        """Set once what was flagged before the start has been read; from now on only events and timers count."""
        self.schedule = Schedule()
        self.counts: Counter[str] = Counter()
        self._observer = observer
        self._woken = asyncio.Event()
        self._jobs = HeldJobs(self.type, handler, self._woken.set)
        self._measures = JobMeasures(self.type)
        self._reconnects = 0
        self._runtime: Runtime
        self._queue: JobQueue

    def stats(self) -> Mapping[str, Any]:
        """Counts since the start (wakes by cause, jobs by what triggered them, outcomes by kind), and the jobs held
        now."""
        wakes = {f"wakes_by_{by}": count for by, count in self.schedule.wakes.items()}
        held = {"held": len(self._jobs.held), "held_seconds": round(self._jobs.oldest_seconds)}
        return {**wakes, **self.counts, **held}

    def serve_chains(self, chain_ids: Sequence[int]) -> None:
        """From now on work on these chains, and read at once what they have."""
        self.chain_ids = chain_ids
        self.schedule.chains_changed()
        self._woken.set()

    async def run(self, runtime: Runtime) -> None:
        """Work until told to stop; then finish what is held within the grace, and hand back the rest."""
        self._runtime = runtime
        self._queue = JobQueue(
            runtime.pool, runtime.registration.incarnation, chain_ids=self.chain_ids, config=runtime.config.queue
        )
        runtime.watch(self._config_changed)
        runtime.listener.watch("wallet_flags", self._flags_notified)
        runtime.listener.watch("jobs", self._jobs_notified)
        try:
            while not runtime.stopping.is_set():
                await self._turn()
                self.scanned.set()
                await self._wait()
        except Stopped:
            pass
        finally:
            await self._end()

    # -- events -----------------------------------------------------------------------------------

    def _config_changed(self) -> None:
        self.schedule.jobs_changed()  # a chain that was switched on has jobs that nobody notified of
        self._woken.set()

    def _flags_notified(self) -> None:
        self.schedule.notified()
        self._woken.set()

    def _jobs_notified(self) -> None:
        self.schedule.jobs_changed()
        self._flags_notified()

    async def _wait(self) -> None:
        """Until an event, a timer, or outcomes that have waited long enough."""
        now = _now()
        wakes_at = self.schedule.wakes_at(now, self._room(), paused=self._runtime.paused)
        wakes_at = min(wakes_at, self._jobs.write_at)
        loan = self._runtime.listener.loan
        loan.decline()
        if wakes_at > now:
            loan.wanted = not self._jobs.outcomes
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(wakes_at):
                    await self._woken.wait()
            loan.wanted = False
        else:
            await asyncio.sleep(0)  # lets batches and notifications run even if this loop always has something to do
        self._woken.clear()

    def _room(self) -> int:
        return min(self._queue.config.concurrency, self.at_once()) - len(self._jobs.held)

    def at_once(self) -> int:
        """The most jobs that are worth holding, whatever the configuration allows."""
        return self._queue.config.concurrency

    # -- the loop ---------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Do what is due, with at most one exchange."""
        now, config = _now(), self._runtime.config
        self._queue.config = config.queue
        self._queue.chain_ids = None if self.chain_ids is None else list(self.chain_ids)
        self.schedule.set_sweep_interval(config.sweep.interval_seconds, now)
        if self._runtime.listener.reconnects != self._reconnects:
            self._reconnects = self._runtime.listener.reconnects
            await self._runtime.persist("giving back what a lost reply claimed", self._release_unheld)
            self.schedule.reconnected()
        writes = self._jobs.write_at <= now
        if self._runtime.paused:
            if writes:
                await self._exchange(0, Scan())
            self.schedule.paused()
            return
        room = self._room() + (self._jobs.outcomes if writes else 0)
        scan = self.schedule.next_scan(
            now,
            room,
            outcomes=writes,
            sweep_seconds=config.sweep.interval_seconds,
            grace_seconds=config.sweep.grace_seconds,
        )
        if scan is None:
            return
        scan = await self._with_marks(scan)
        if room > 0:
            await self._claim(room, scan)
        else:
            await self._queue_flagged(scan)

    async def _claim(self, room: int, scan: Scan) -> None:
        """Exchange, start what was claimed, and learn when to claim again. When the next waiting job is due is asked
        only where that may have changed: a flag that was served is two round trips, and the next one does not wait for
        more."""
        claimed = await self._exchange(room, scan)
        if claimed is None:
            self.schedule.not_read(scan)
            return
        left = self.schedule.claimed(scan, len(claimed), room, self._queue.config.enqueue_batch, _now())
        if claimed:
            self.counts.update(Counter(f"jobs_by_{job.triggered_by}" for job in claimed))
            self._measures.claimed(claimed)
            together = self.together or len(claimed)
            for first in range(0, len(claimed), together):
                self._jobs.start(claimed[first : first + together], self._queue.config.deadline_seconds)
            await asyncio.sleep(0)  # the handler begins now, and not once the next question is on its way
        if left:
            await self._queue_flagged(await self._with_marks(self.schedule.queueing(scan, _now())))
        if self.schedule.needs_next_due(scan):
            seconds = await self._runtime.persist(
                "reading when the next job is due", lambda: self._queue.next_due(self.job_type)
            )
            self.schedule.next_due(scan, seconds, _now())

    async def _with_marks(self, scan: Scan) -> Scan:
        """``scan``, and before a full one where those after it will begin."""
        if not scan.is_full:
            return scan
        marks = await self._runtime.persist(
            "reading the oldest flag", lambda: self._queue.flag_marks(self.job_type, scan.flags_since)
        )
        return scan.with_marks(marks)

    async def _queue_flagged(self, scan: Scan) -> None:
        """Queue flagged wallets that there is no room for."""
        batch = self._queue.config.enqueue_batch
        await self._runtime.persist(
            "queueing flagged wallets", lambda: self._queue.enqueue_flagged(self.job_type, scan, batch=batch)
        )
        self.schedule.queued(scan, _now())

    async def _exchange(self, room: int, scan: Scan) -> list[Job] | None:
        """Write the outcomes at hand and claim up to ``room`` jobs, however long the database is away. None: there was
        an outcome that cannot be written, and nothing was read."""
        outcomes = self._jobs.take_outcomes()
        failed = False

        async def attempt() -> Exchange:
            nonlocal failed
            again, failed = failed, True
            if again:
                await self._release_unheld()
            elif not outcomes and (claimed := await self._claim_where_heard(room, scan)) is not None:
                return Exchange(frozenset(), claimed)
            return await self._queue.exchange(outcomes, self.job_type, room, scan.unbounded() if again else scan)

        try:
            exchange = await self._runtime.persist("exchange with the queue", attempt)
        except Stopped:
            self._jobs.give_back(outcomes)
            raise
        except (psycopg.Error, TypeError, ValueError) as error:
            if not outcomes:
                raise
            logger.error("{}: a batch of outcomes was refused: {}; writing them one by one", self.type, reason(error))
            await self._write_singly(outcomes)
            return None
        self._written(outcomes, exchange.finished)
        return exchange.claimed

    async def _claim_where_heard(self, room: int, scan: Scan) -> list[Job] | None:
        """The claim on the session that heard of a flag, where that is just offered; None: it was not made there."""
        with self._runtime.listener.borrowed() as session:
            return None if session is None else await self._queue.claim_on(session, self.job_type, room, scan)

    async def _write_singly(self, outcomes: Sequence[tuple[Job, Outcome]]) -> None:
        """One bad outcome (data that is no JSON, a refused status) must not hold up the others for ever."""
        for job, outcome in outcomes:
            written: Outcome = outcome
            try:
                finished = await self._queue.finish([(job, outcome)])
            except (psycopg.Error, TypeError, ValueError) as error:
                if isinstance(error, DATABASE_GONE):
                    self._jobs.settle(job, outcome)
                    continue
                written = Failed(f"the outcome {outcome!r} could not be written: {reason(error)}")
                finished = await self._queue.finish([(job, written)])
            self._written([(job, written)], finished)

    async def _release_unheld(self) -> None:
        """Give back what a claim brought whose answer never arrived."""
        released = await self._queue.release_unheld(list(self._jobs.held))
        if released:
            self.schedule.jobs_changed()
            logger.warning("{}: {} jobs claimed by a lost reply were given back", self.type, len(released))

    def _written(self, outcomes: Sequence[tuple[Job, Outcome]], finished: frozenset[UUID]) -> None:
        tried = [outcome for _, outcome in outcomes if not isinstance(outcome, Defer)]
        self._runtime.attempts.note(len(tried), sum(isinstance(outcome, Retry | Failed) for outcome in tried))
        now = _now()
        for job, outcome in outcomes:
            began = self._jobs.written(job)
            self._measures.ended(outcome, None if began is None else now - began, ours=job.id in finished)
            if isinstance(outcome, Retry | Defer):
                self.schedule.job_delayed()
            ours = job.id in finished
            self.counts[type(outcome).__name__.lower() if ours else "lost"] += 1
            _report(job, outcome, ours)
            if self._observer is not None:
                self._observer(job, outcome, ours)

    async def _end(self) -> None:
        """Let batches end within the grace, write what they brought, and hand back the rest."""
        await self._jobs.end(self._runtime.grace_seconds)
        try:
            async with asyncio.timeout(HAND_BACK_SECONDS):
                if outcomes := self._jobs.take_outcomes():
                    await self._write_singly(outcomes)
                if rest := list(self._jobs.held):
                    given = await self._queue.hand_back(rest)
                    self._jobs.held.clear()
                    logger.info("{}: handed back {} jobs", self.type, len(given))
        except DATABASE_GONE as error:
            count = len(self._jobs.held)
            logger.warning(
                "{}: {} jobs could not be handed back: {}; they are rescued", self.type, count, reason(error)
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
