"""A database as it is after years: many wallets, and many more jobs that have ended."""

from collections.abc import Callable, Iterator

import psycopg

from bench.statements import parts, text

SLICE = 250_000
"""Rows in one statement: the progress bar moves, and a statement fits into memory."""


def steps(wallets: int, jobs: int) -> int:
    """How often ``fill`` will say that it has gone on."""
    return len(list(_slices(wallets))) + len(list(_slices(jobs))) + 1


def fill(dsn: str, wallets: int, jobs: int, advance: Callable[[str], None]) -> None:
    """Add so many wallets to a database without any, then so many finished jobs of theirs."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        for first, last in _slices(wallets):
            connection.execute(text("flagpost/wallets"), {"first": first, "last": last})
            advance(f"filling: {last:,} wallets")
        connection.execute("ANALYZE wallets")
        for first, last in _slices(jobs):
            place = {"first": first, "last": last, "jobs": jobs, "wallets": wallets}
            connection.execute(text("flagpost/finished_jobs"), place)
            advance(f"filling: {last:,} finished jobs")
        if jobs:
            connection.execute("SELECT setval('job_logs_seq', %s)", [jobs])
        for part in parts("flagpost/settle"):
            connection.execute(part)
        advance("filling: vacuum and checkpoint")


def fill_history(dsn: str, wallets: int, jobs: int, advance: Callable[[str], None]) -> None:
    """Add so many jobs of so many wallets to job_history. Its indexes are made afterwards, which is quicker."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'")
        indexes = connection.execute(
            "SELECT indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes"
            " WHERE tablename = 'job_history' AND indexname <> 'job_history_pkey'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        for months in range(13):
            connection.execute("SELECT add_history_month((now() - %s * interval '1 month')::date)", [months])
        for first, last in _slices(jobs):
            place = {"first": first, "last": last, "jobs": jobs, "wallets": wallets}
            connection.execute(text("flagpost/history_jobs"), place)
            advance(f"filling: {last:,} jobs of job_history")
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("SELECT setval('job_logs_seq', greatest(%s, last_value)) FROM job_logs_seq", [jobs])
        for part in ("VACUUM (ANALYZE) job_history", "SELECT recount_jobs()", "CHECKPOINT"):
            connection.execute(part.encode())
        advance("filling: indexes, vacuum and checkpoint")


def _slices(rows: int) -> Iterator[tuple[int, int]]:
    for first in range(1, rows + 1, SLICE):
        yield first, min(first + SLICE - 1, rows)
