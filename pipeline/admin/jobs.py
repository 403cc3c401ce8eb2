"""What operators do to jobs. Each action is one SQL function (sql/functions/admin_jobs.sql), which writes
admin_actions."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.errors import Conflict
from pipeline.admin.refusals import act


@dataclass(frozen=True, slots=True)
class RetriedJob:
    """A job that runs again."""

    job_id: str
    retry_count: int
    max_retries: int

    @property
    def retries_left(self) -> int:
        """Attempts that may still fail before the dead letter."""
        return self.max_retries - self.retry_count


async def retry(
    connection: AsyncConnection[Any], job: str, *, reset_retry_count: bool = True, admin: UUID | None = None
) -> RetriedJob:
    """Run a failed job again, at once: with all its attempts, or without ``reset_retry_count`` with one.

    ``job``: its job_id or its id. Raises NotFound; Conflict for a job that is not failed, or whose wallet has a live
    one of that type.
    """
    (row,) = await act(connection, "jobs/retry", job=job, reset=reset_retry_count, admin=admin)
    return RetriedJob(**row)


async def retry_failed(
    connection: AsyncConnection[Any], job_type: str | None, hours: int, *, admin: UUID | None = None
) -> int:
    """Run the jobs of a type (None: of every type) that failed in the last ``hours`` again; how many. Raises
    InvalidValue for an unknown type."""
    (row,) = await act(connection, "jobs/retry_failed", job_type=job_type, hours=hours, admin=admin)
    return int(row["retried"])


async def cleanup_stuck(connection: AsyncConnection[Any], minutes: int, *, admin: UUID | None = None) -> int:
    """Take jobs that have been stuck for so many ``minutes`` from dead or silent workers; how many."""
    (row,) = await act(connection, "jobs/cleanup_stuck", minutes=minutes, admin=admin)
    return int(row["rescued"])


async def cancel(connection: AsyncConnection[Any], job: str, *, admin: UUID | None = None) -> str:
    """Cancel a job that has sent nothing; its job_id. Raises NotFound; Conflict for one that runs, has ended, or whose
    transaction may still land."""
    (row,) = await act(connection, "jobs/cancel", job=job, admin=admin)
    if not row["cancelled"]:
        raise Conflict(f"{row['job_id']} was cancelled before")
    return str(row["job_id"])
