"""The sweep: on a timer it reads the flags themselves, and finds what no event brought.

    standing by ──(leads)──▶ acting: every interval enqueue, summarise; clean up; set back times that lie ahead;
                             fold counts and move finished jobs; raise and send alerts

One sweep acts at a time (``leader``); the others stand by and try again. A statement that the server breaks off keeps
none of the others waiting (``slow``).
"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from loguru import logger
from prometheus_client.core import Metric
from psycopg.types.json import Jsonb

from pipeline.db.errors import DATABASE_GONE
from pipeline.db.rows import fetch_value
from pipeline.metrics.system import SystemMeasures
from pipeline.printable import reason
from pipeline.queue.jobs import FLAGGED_TYPES, JobType, TriggeredBy
from pipeline.queue.queue import Enqueued, JobQueue
from pipeline.queue.schedule import FIRST_XID, Scan, Xid
from pipeline.workers.alerts import Alerts
from pipeline.workers.autoscale import EVALUATE_SECONDS, Autoscaling
from pipeline.workers.history import TURN_SECONDS, History
from pipeline.workers.leader import Leader
from pipeline.workers.process import Stopped
from pipeline.workers.repairs import Repairs
from pipeline.workers.runtime import Runtime
from pipeline.workers.slow import Statements, TooSlow
from pipeline.workers.times import REPAIR_SECONDS, Times

STANDBY_SECONDS = 2.0
"""How often a sweep that stands by tries to lead."""
LONGEST_SLEEP_SECONDS = 60.0
"""A leader asks for its lease at least so often (``leader.LONGEST_WORK_SECONDS``), whatever its interval is."""
UNBOUNDED_SECONDS = 3600.0
"""Between two sweeps that begin with the first transaction: those of listeners, at the same interval, always do."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle found and did."""

    missed: Mapping[str, int] = field(default_factory=dict)
    """Flagged wallets that no event had brought, by job type; they have a job now."""
    after_failure: int = 0
    """Wallets whose dead letter is old enough to try again."""
    rescued: int = 0
    """Jobs that this process took from dead and silent workers since the cycle before. Others take them, too, and count
    them in their own stats (``rescue``)."""
    silent_workers: int = 0
    """Workers that it was the first to find dead or silent."""
    healed: Mapping[str, int] = field(default_factory=dict)
    """What triggers had not done and this cycle did, by kind (``repairs``); empty when there was nothing."""

    @property
    def missed_events(self) -> int:
        return sum(self.missed.values())


class StandingFlags:
    """Where sweeps begin: at the oldest flag that is up. It is looked for from the first transaction of all every
    ``UNBOUNDED_SECONDS`` and after a lost connection: rows that another server wrote may have any number."""

    def __init__(self) -> None:
        self._since: dict[JobType, Xid] = {}
        self._reconnects = 0
        self._next_unbounded = -math.inf

    async def since(self, queue: JobQueue, job_type: JobType, reconnects: int) -> Xid:
        """Raises psycopg.Error."""
        if reconnects != self._reconnects or _now() >= self._next_unbounded:
            self._since.clear()
            self._reconnects = reconnects
            self._next_unbounded = _now() + UNBOUNDED_SECONDS
        marks = await queue.flag_marks(job_type, self._since.get(job_type, FIRST_XID))
        self._since[job_type] = marks.standing
        return marks.standing


class Sweep:
    """The process ``sweep``. A ``runtime.Worker``."""

    type = "sweep"
    role = "pipeline_executor"
    channels: Sequence[str] = ()
    blockchain: str | None = None

    def __init__(
        self,
        *,
        chain_ids: Sequence[int] | None = None,
        standby_seconds: float = STANDBY_SECONDS,
        observer: Callable[[Cycle], None] | None = None,
    ) -> None:
        """``observer`` is told of each cycle once its summary is written."""
        self.acting = asyncio.Event()
        """Set while this sweep leads."""
        self.counts: Counter[str] = Counter()
        self._chain_ids = chain_ids
        self._standby_seconds = standby_seconds
        self._observer = observer
        self._changed = asyncio.Event()
        self._cleaned = 0
        self._told: Counter[str] = Counter()
        self._times: Times | None = None
        self._standing = StandingFlags()
        self._runtime: Runtime
        self._queue: JobQueue
        self._leader: Leader
        self._statements: Statements
        self._repairs: Repairs | None = None
        self._history: History | None = None
        self._alerts: Alerts | None = None
        self._measures: SystemMeasures | None = None

    def stats(self) -> Mapping[str, Any]:
        """Counts since the start, whether this sweep acts or stands by, and up to which wallet the one that acts has
        compared (the next one goes on there)."""
        times = {} if self._times is None else self._times.stats()
        compared = {} if self._repairs is None else self._repairs.stats()
        history = {} if self._history is None else self._history.stats()
        alerts = {} if self._alerts is None else self._alerts.stats()
        return {**self.counts, "acting": self.acting.is_set(), **times, **compared, **history, **alerts}

    async def measure(self) -> Iterable[Metric]:
        """What the whole is, for Prometheus: of the sweep that leads alone."""
        if self._measures is None or not self.acting.is_set():
            return ()
        await self._measures.read()
        return self._measures.families()

    async def run(self, runtime: Runtime) -> None:
        """Act or stand by until told to stop."""
        self._runtime = runtime
        self._queue = JobQueue(runtime.pool, runtime.registration.incarnation, chain_ids=self._chain_ids)
        self._leader = Leader(runtime.pool, runtime.registration.incarnation, "sweep")
        self._statements = Statements(runtime)
        times = self._times = Times(runtime)
        repairs = self._repairs = Repairs(runtime)
        history = self._history = History(runtime)
        autoscaling = Autoscaling(runtime)
        alerts = self._alerts = Alerts(runtime, self.acting)
        self._measures = SystemMeasures(runtime.pool)
        runtime.watch(self._changed.set)
        now = _now()
        next_repair = next_turn = next_scaling = now
        last_sweep = last_cleanup = now  # at a common start the listeners take what is flagged themselves
        try:
            while not runtime.stopping.is_set():
                self._changed.clear()
                if not await self._leads(repairs, alerts):
                    await self._sleep(self._standby_seconds)
                    continue
                now = _now()
                if now >= next_repair:
                    next_repair = now + REPAIR_SECONDS
                    await times.repair()
                if now >= last_cleanup + runtime.config.cleanup.interval_seconds:
                    last_cleanup = now
                    with contextlib.suppress(TooSlow):
                        await self._statements.ask("sweep/cleanup", "cleaning up", self._cleanup)
                if now >= last_sweep + runtime.config.sweep.interval_seconds:
                    last_sweep = now
                    await self._cycle(repairs)
                await alerts.evaluate_if_due()
                if _now() >= next_turn:
                    await history.turn()
                    next_turn = _now() + TURN_SECONDS
                if _now() >= next_scaling:
                    await autoscaling.evaluate()
                    next_scaling = _now() + EVALUATE_SECONDS
                next_sweep = last_sweep + runtime.config.sweep.interval_seconds
                next_cleanup = last_cleanup + runtime.config.cleanup.interval_seconds
                next_due = min(next_sweep, next_cleanup, next_repair, next_turn, next_scaling, alerts.next_at)
                await self._sleep(min(next_due - _now(), LONGEST_SLEEP_SECONDS))
        except Stopped:
            pass
        finally:
            await self._leader.close()
            self.acting.clear()
            await alerts.close()

    async def _cycle(self, repairs: Repairs) -> None:
        """Enqueue what was missed, write the summary, log a line."""
        started_at = datetime.now(UTC)
        self._queue.config = self._runtime.config.queue
        missed: dict[str, int] = {}
        after_failure = 0
        for job_type in () if self._runtime.paused else FLAGGED_TYPES:
            enqueued = await self._enqueue(job_type)
            missed[job_type.value] = enqueued.jobs - enqueued.after_failure
            after_failure += enqueued.after_failure
        with contextlib.suppress(TooSlow):
            sequences = self._runtime.advance_sequences
            await self._statements.ask("sequences/advance", "comparing sequences", sequences)
        healed = await repairs.cycle(self._runtime.config.sweep.interval_seconds)
        found = self._runtime.rescue.counts - self._told
        self._told += found
        cycle = Cycle(missed, after_failure, found["rescued"] + self._cleaned, found["silent"], healed)
        self._cleaned = 0
        self.counts.update(cycles=1, missed_events=cycle.missed_events, after_failure=after_failure)
        self.counts.update({f"healed_{kind}": count for kind, count in healed.items()})
        live: Mapping[str, Mapping[str, int]] = {}
        with contextlib.suppress(TooSlow):
            summarise = partial(self._summarise, started_at, cycle)
            live = await self._statements.ask("sweep/summary", "writing the summary", summarise)
        logger.info(
            "sweep: {} missed events{}, {} failed jobs tried again, {} jobs rescued, {} workers dead or silent; "
            "live jobs: {}",
            cycle.missed_events,
            f" ({_listed(missed)})" if cycle.missed_events else "",
            after_failure,
            cycle.rescued,
            cycle.silent_workers,
            _listed({job_type: sum(counts.values()) for job_type, counts in live.items()}) or "none",
        )
        if healed:
            logger.warning("sweep: triggers did not fire for some rows; done now: {}", _listed(healed))
        if self._observer is not None:
            self._observer(cycle)

    async def _enqueue(self, job_type: JobType) -> Enqueued:
        """Of one type: where its flags take too long, those of the others are enqueued all the same."""
        config = self._runtime.config.sweep

        async def enqueue() -> Enqueued:
            since = await self._standing.since(self._queue, job_type, self._runtime.listener.reconnects)
            scan = Scan(TriggeredBy.SWEEP, min_age_seconds=config.grace_seconds, flags_since=since)
            return await self._queue.enqueue_flagged(job_type, scan, batch=config.batch)

        name, what = f"queue/enqueue_flagged of {job_type.value}", f"sweeping flags for {job_type.value}"
        try:
            return await self._statements.ask(name, what, enqueue, left_out_seconds=0.0)
        except TooSlow:
            return Enqueued(0, 0)

    async def _summarise(self, started_at: datetime, cycle: Cycle) -> Mapping[str, Mapping[str, int]]:
        """Write the summary job; live jobs by type and status."""
        done = {
            "missed_events": cycle.missed_events,
            "missed": dict(cycle.missed),
            "after_failure": cycle.after_failure,
            "rescued": cycle.rescued,
            "silent_workers": cycle.silent_workers,
            **({"healed": dict(cycle.healed)} if cycle.healed else {}),
            "swept_by": self._runtime.registration.name,
        }
        async with self._runtime.pool.connection() as connection:
            data = await fetch_value(connection, "sweep/summary", started_at=started_at, cycle=Jsonb(done))
        live: Mapping[str, Mapping[str, int]] = data["live"]
        return live

    async def _cleanup(self) -> None:
        """The operators' cleanup, on a timer: what has been stuck for longer than anything should."""
        async with self._runtime.pool.connection() as connection:
            minutes = self._runtime.config.cleanup.stuck_minutes
            cleaned = await fetch_value(connection, "sweep/cleanup", minutes=minutes)
        if cleaned:
            logger.warning("sweep: {} jobs had been stuck for {} minutes", cleaned, minutes)
        self._cleaned += cleaned

    async def _leads(self, repairs: Repairs, alerts: Alerts) -> bool:
        """Whether this sweep is the one that acts."""
        try:
            leads = await self._leader.leads()
        except DATABASE_GONE as error:
            logger.warning("sweep: the database went away: {}", reason(error))
            leads = False
        if leads and not self.acting.is_set():
            with contextlib.suppress(TooSlow):
                what = "reading how far wallets were compared"
                await self._statements.ask("sweep/compared_up_to", what, repairs.resume)
        elif not leads:
            repairs.forget()
            alerts.forget()
        (self.acting.set if leads else self.acting.clear)()
        return leads

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()) if count)


def _now() -> float:
    return asyncio.get_running_loop().time()
