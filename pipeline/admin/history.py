"""The months of job_history: what there is, and their way to a file before they are dropped
(``sql/functions/history_months.sql``)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, BinaryIO
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.errors import NotFound
from pipeline.admin.refusals import act
from pipeline.db.rows import fetch
from pipeline.db.statements import statement


class ExportForm(StrEnum):
    """How jobs are written: CSV with a line of names, or a JSON object a line."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class HistoryMonth:
    """One month of job_history."""

    month: date
    """Its first day, UTC; jobs are in the month they ended in."""
    jobs: int
    failed: int
    """Dead letters among them."""
    bytes: int
    """On the server's disk, indexes included."""
    is_exported: bool
    """As it is now: no job has moved there since."""
    exported_at: datetime | None
    exported_to: str | None
    """The file, as it was named."""
    leaves_on: date | None
    """It is dropped from that day on (``history.keep_months``); None: never."""
    waits_for_export: bool
    """It would have left, had it been exported (``history.drop_unexported``)."""


@dataclass(frozen=True, slots=True)
class ExportedMonth:
    """One month as it was written."""

    month: date
    version: int
    """Of job_history_months, in the snapshot that was written."""
    rows: int


async def months(connection: AsyncConnection[Any]) -> list[HistoryMonth]:
    """Oldest first."""
    return [HistoryMonth(**row) for row in await fetch(connection, "history/months")]


async def export(
    connection: AsyncConnection[Any],
    first: date,
    last: date,
    form: ExportForm,
    sink: BinaryIO,
    tell: Callable[[int, int], None],
) -> Sequence[ExportedMonth]:
    """Write the months from ``first`` to ``last`` to ``sink``, oldest first, as one snapshot has them. Streams: one job
    is held at a time. ``tell`` is told how many jobs are written, and of how many.

    Raises NotFound if job_history has none of these months; OSError of ``sink``; psycopg errors.
    """
    written: list[ExportedMonth] = []
    async with connection.transaction():
        await connection.execute(statement("history/begin_export"))
        asked = await fetch(connection, "history/exported_months", first=first, last=last)
        if not asked:
            raise NotFound(f"job_history has no month from {first:%Y-%m} to {last:%Y-%m}", "see: flagpost history list")
        due, done = sum(row["jobs"] for row in asked), 0
        for row in asked:

            def tell_all(rows: int, done: int = done) -> None:
                tell(done + rows, due)

            rows = await _copy(connection, row["month"], form, sink, not written, tell_all)
            done += rows
            written.append(ExportedMonth(row["month"], row["version"], rows))
    return written


async def note_export(
    connection: AsyncConnection[Any], exported: Sequence[ExportedMonth], file: str, *, admin: UUID | None = None
) -> Sequence[date]:
    """Note that these months stand in ``file``, durably; those to which jobs have moved since, which are to be exported
    again."""
    changed = []
    for one in exported:
        (row,) = await act(
            connection,
            "history/note_export",
            month=one.month,
            version=one.version,
            rows=one.rows,
            file=file,
            admin=admin,
        )
        if not row["is_current"]:
            changed.append(one.month)
    return changed


async def _copy(
    connection: AsyncConnection[Any],
    month: date,
    form: ExportForm,
    sink: BinaryIO,
    with_names: bool,
    tell: Callable[[int], None],
) -> int:
    """Write one month; how many jobs."""
    bounds: dict[str, Any] = {"first": f"{month} 00:00:00+00", "next": f"{_next(month)} 00:00:00+00"}
    names = form is ExportForm.CSV and with_names
    if form is ExportForm.CSV:
        bounds["header"] = with_names
    rows = -1 if names else 0
    async with connection.cursor() as cursor, cursor.copy(statement(f"history/export_{form}"), bounds) as copy:
        async for row in copy:  # the server sends one row at a time
            sink.write(row)
            rows += 1
            tell(max(rows, 0))
    return rows


def _next(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)
