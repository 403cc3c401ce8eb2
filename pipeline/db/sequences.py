"""Sequences that are behind the rows they number.

Logical replication and partial restores bring rows and no sequences: the next number drawn is taken already, and the
insert fails. Nothing is lost by it: the sequences are moved past their rows (``sql/functions/sequences.sql``), and
whoever inserted tries again.
"""

import re

import psycopg
from loguru import logger
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from pipeline.db.statements import statement

_DRAWN = re.compile(
    r"^(chains|bundles|transfers|chain_transactions|nonces|job_count_deltas|alert_deliveries)_pkey$|^job_logs_job_id_key$"
)
"""Constraints over what a sequence gives: ids, and the job_id that the queue makes of job_logs.seq."""


class NumberTaken(psycopg.OperationalError):
    """What a sequence gave was taken. An OperationalError, because the same statement goes well the next time."""


def taken(error: psycopg.Error) -> str | None:
    """What was taken, if ``error`` says that a number drawn from a sequence was; None for any other error."""
    if not isinstance(error, errors.UniqueViolation) or not _DRAWN.match(error.diag.constraint_name or ""):
        return None
    return f"{error.diag.table_name} {error.diag.message_detail or error.diag.message_primary}"


async def advance(connection: AsyncConnection[TupleRow]) -> list[str]:
    """Move every sequence that is behind past its rows; the names of those that were, each in a line of the log."""
    moved = []
    cursor = await connection.execute(statement("sequences/advance"))
    for name, table, column, last_drawn, highest in await cursor.fetchall():
        logger.error(
            "sequence {} had drawn {} and {}.{} goes up to {}: moved past it (rows were written without it)",
            name,
            last_drawn,
            table,
            column,
            highest,
        )
        moved.append(name)
    return moved
