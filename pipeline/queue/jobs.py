"""What a job is, and what one attempt of it can come to."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pipeline.db.values import loads


class JobType(StrEnum):
    """Values of ``job_logs.job_type``."""

    SYNC = "sync"
    GAS_TOPUP = "gas-topup"
    CONSOLIDATION = "consolidation"
    DEPOSIT_DETECTION = "deposit-detection"
    WITHDRAWAL = "withdrawal"


FLAGGED_TYPES = (JobType.GAS_TOPUP, JobType.CONSOLIDATION)
"""Types that a flag on a wallet calls for (``wallets.wanted_job``), gas first."""


class TriggeredBy(StrEnum):
    """Values of ``job_logs.triggered_by``."""

    SYSTEM = "system"
    """A listener that claimed again after finishing a batch, or at its start."""
    MANUAL = "manual"
    DEPOSIT = "deposit"
    SCHEDULE = "schedule"
    EVENT = "event"
    """A listener woken by a NOTIFY."""
    SWEEP = "sweep"
    """A timer that found a flag which no event had brought."""


@dataclass(slots=True, eq=False)
class Job:
    """One claimed attempt of a job. Not frozen, which would triple the cost of making one; nobody changes it."""

    id: UUID
    job_id: str
    """The name people use, such as ``gas-topup-17``."""
    job_type: JobType
    wallet_id: UUID
    wallet_address: str
    chain_id: int
    lease: int
    """Raised by every claim; every write of this attempt names it."""
    retry_count: int
    """Attempts that failed so far."""
    max_retries: int
    """Attempts in all; the last one that fails makes a dead letter."""
    triggered_by: TriggeredBy
    json: str
    """What ``job_logs.data`` said when it was claimed, as text: most handlers never read it."""

    @property
    def data(self) -> Mapping[str, Any]:
        """``job_logs.data``."""
        read: Mapping[str, Any] = loads(self.json)
        return read

    @property
    def flagged_at(self) -> datetime | None:
        """When the flag rose that called for this job; None for a job that was typed or dispatched."""
        value = self.data.get("flagged_at")
        try:
            return datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            return None

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this attempt makes the job a dead letter."""
        return self.retry_count + 1 >= self.max_retries

    def __str__(self) -> str:
        return f"{self.job_id} ({self.wallet_address})"


@dataclass(frozen=True, slots=True)
class Done:
    """The job is over: paid, or nothing to do."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """Added to the job's data, e.g. ``{"outcome": "skipped", "reason": "…"}``; money as decimal strings."""
    clear_flag: bool = False
    """Lower the flag that called for the job, unless a balance of the wallet changed meanwhile. A handler that does
    not ask for this has lowered the flag itself, or left it to a payment's settlement: a job that ends with its flag
    still up is followed by another at once."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Handed over to the confirmation worker (``awaiting_chain``) by a commit of its own; nothing is written here."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; another may succeed. The last one makes a dead letter."""

    error: str
    """For people: names the wallet or transaction, and what to do."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not now. Waits without using up an attempt, and says why."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A dead letter at once: another attempt could not succeed."""

    error: str


Outcome = Done | Parked | Retry | Defer | Failed

Handler = Callable[[Sequence[Job]], AsyncIterator[tuple[Job, Outcome]]]
"""Runs a batch of jobs of one type: yields each outcome as soon as it is known. A job without an outcome when it
ends or raises is retried."""
