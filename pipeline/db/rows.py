"""What a named statement (``db.statements``) gives: its rows, one row, one value, or how many rows it changed.

All take a connection in whatever transaction the caller has opened, and raise psycopg.Error.
"""

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row, scalar_row

from pipeline.db.statements import statement


async def fetch(conn: AsyncConnection[Any], name: str, /, **parameters: Any) -> list[DictRow]:
    """All rows, by column."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement(name), parameters)
        return await cursor.fetchall() if cursor.description else []


async def fetch_one(conn: AsyncConnection[Any], name: str, /, **parameters: Any) -> DictRow:
    """The row of a statement that always gives one. Raises ValueError where it gives none, or several."""
    (row,) = await fetch(conn, name, **parameters)
    return row


async def fetch_values(conn: AsyncConnection[Any], name: str, /, **parameters: Any) -> list[Any]:
    """The first column of all rows."""
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(statement(name), parameters)
        return await cursor.fetchall()


async def fetch_value(conn: AsyncConnection[Any], name: str, /, **parameters: Any) -> Any:
    """The first column of the first row; None where there is no row, too."""
    values = await fetch_values(conn, name, **parameters)
    return values[0] if values else None


async def execute(conn: AsyncConnection[Any], name: str, /, **parameters: Any) -> int:
    """How many rows the statement changed."""
    async with conn.cursor() as cursor:
        await cursor.execute(statement(name), parameters)
        return cursor.rowcount
