"""What a statement costs, counted in pages and rows and not in time."""

import re
from typing import Any

from psycopg import sql

from pipeline.db.pool import Connection
from pipeline.db.statements import statement


async def buffers(session: Connection, name: str, parameters: dict[str, Any]) -> int:
    """Pages that a statement touches, its triggers left out."""
    plan = await explained(session, name, parameters)
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def explained(session: Connection, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The plan of a prepared statement: EXPLAIN of a plain one plans it anew with its values, whatever is set."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement(name))))
    text = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", statement(name))
    if not await _is_prepared(session, name):
        await session.execute(sql.SQL("PREPARE {} AS ").format(sql.Identifier(name)) + sql.SQL(text))
    values = sql.SQL(", ").join(sql.Literal(parameters[key]) for key in names)
    cursor = await session.execute(
        sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {}({})").format(sql.Identifier(name), values)
    )
    row = await cursor.fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


async def _is_prepared(session: Connection, name: str) -> bool:
    cursor = await session.execute("SELECT FROM pg_prepared_statements WHERE name = %s", [name])
    return await cursor.fetchone() is not None


def thrown_away(plan: dict[str, Any]) -> int:
    """Pairs of rows that a join looked at in vain."""
    own = int(plan.get("Rows Removed by Join Filter", 0)) * int(plan["Actual Loops"])
    return own + sum(thrown_away(child) for child in plan.get("Plans", ()))


def looked_at_in_vain(plan: dict[str, Any]) -> int:
    """Rows that were read and did not meet a condition."""
    own = int(plan.get("Rows Removed by Filter", 0)) * int(plan["Actual Loops"])
    return own + sum(looked_at_in_vain(child) for child in plan.get("Plans", ()))


def rows_of(plan: dict[str, Any], table: str) -> int:
    """Rows that were read of a table and passed on."""
    own = int(plan["Actual Rows"]) * int(plan["Actual Loops"]) if plan.get("Relation Name") == table else 0
    return own + sum(rows_of(child, table) for child in plan.get("Plans", ()))
