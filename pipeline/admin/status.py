"""How the whole is: what `flagpost status` shows. Read models of sql/functions/health.sql and sql/queries/status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from psycopg import AsyncConnection

from pipeline.db.rows import fetch, fetch_one


class SystemHealth(StrEnum):
    """How the whole is."""

    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    """A worker that shall run fails a check, or has not obeyed, or nobody leads what one has to lead."""
    DOWN = "Down"
    """The database is gone, or work is due and no worker of its type lives."""
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class WorkersOfType:
    """How many workers of a type there are; of a type that every system needs also where there are none."""

    type: str
    alive: int
    wanted: int
    paused: int
    stopped: int
    failing: int
    """Those that fail a check."""


@dataclass(frozen=True, slots=True)
class JobsOfType:
    """Live jobs of a type; each count ends at 10,000."""

    job_type: str
    waiting: int
    running: int
    failed: int
    """In the last hour."""
    due: int
    oldest: timedelta | None
    """How long the oldest of those that are due has waited."""


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """How far a chain is followed, and what is out on it."""

    chain: str
    is_active: bool
    block: int | None
    """The newest final block that was read."""
    behind: timedelta | None
    """The age of that block."""
    payments: int
    oldest: timedelta | None


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """How many alerts are open."""

    critical: int
    warning: int


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """All of it."""

    health: SystemHealth
    reasons: Sequence[str]
    """What is wrong and what to do."""
    workers: Sequence[WorkersOfType]
    jobs: Sequence[JobsOfType]
    chains: Sequence[ChainStatus]
    alerts: OpenAlerts
    notification_queue: float
    """Share of the server's notification queue that is used, 0 to 1."""


async def read(connection: AsyncConnection[Any]) -> SystemStatus:
    """How the whole is now. Raises psycopg.Error."""
    system = await fetch_one(connection, "status/system")
    return SystemStatus(
        SystemHealth(system["health"]),
        system["reasons"],
        [WorkersOfType(**row) for row in await fetch(connection, "status/workers")],
        [JobsOfType(**row) for row in await fetch(connection, "status/jobs")],
        [ChainStatus(**row) for row in await fetch(connection, "status/chains")],
        OpenAlerts(**await fetch_one(connection, "status/alerts")),
        system["notification_queue"],
    )
