"""Rows of a named statement, within a transaction that a store has opened."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from pipeline.db.statements import statement


async def fetch(conn: AsyncConnection[Any], name: str, /, **parameters: Any) -> list[DictRow]:
    """All rows, by column. Raises psycopg.Error."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement(name), parameters)
        return await cursor.fetchall() if cursor.description else []
