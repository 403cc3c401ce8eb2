"""What executors measure of the jobs they run."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from prometheus_client import Counter, Histogram

from pipeline.queue.jobs import Defer, Done, Failed, Job, Outcome, Parked, Retry

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)

_LOST = "lost"
_OUTCOMES = (*(kind.__name__.lower() for kind in (Done, Parked, Retry, Defer, Failed)), _LOST)

_ended = Counter("flagpost_jobs", "Attempts that ended, by outcome", ["type", "outcome"])
_execution = Histogram("flagpost_job_execution_seconds", "From claim to outcome", ["type"], buckets=_SECONDS)
_waiting = Histogram(
    "flagpost_job_waiting_seconds", "From flag to claim, of the first job of each claim", ["type"], buckets=_SECONDS
)
_claimed = Histogram("flagpost_claim_jobs", "Jobs in one claim", ["type"], buckets=_SIZES)


class JobMeasures:
    """Of one type of job."""

    def __init__(self, job_type: str) -> None:
        self._type = job_type
        self._execution = _execution.labels(job_type)
        self._waiting = _waiting.labels(job_type)
        self._claimed = _claimed.labels(job_type)
        # From 0 on: of a series that begins with its first count Prometheus sees no increase.
        self._ended = {outcome: _ended.labels(job_type, outcome) for outcome in _OUTCOMES}

    def claimed(self, jobs: Collection[Job]) -> None:
        """Jobs that came with one claim, one at least."""
        self._claimed.observe(len(jobs))
        flagged_at = next(iter(jobs)).flagged_at
        if flagged_at is not None:
            self._waiting.observe(max(0.0, (datetime.now(UTC) - flagged_at).total_seconds()))

    def ended(self, outcome: Outcome, seconds: float | None, *, ours: bool) -> None:
        """An attempt that was held for so long; ``ours`` False: its lease was lost."""
        self._ended[type(outcome).__name__.lower() if ours else _LOST].inc()
        if seconds is not None:
            self._execution.observe(seconds)


def ended_so_far() -> Mapping[tuple[str, str], float]:
    """How many attempts ended, by type and outcome: for tests."""
    return {
        (sample.labels["type"], sample.labels["outcome"]): sample.value
        for family in _ended.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
