"""What hangs on the old tables: foreign keys are re-pointed, policies made anew, all else is listed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from pipeline.db.rows import fetch
from pipeline.db.statements import statement

TARGETS = {
    "user_wallets": "wallets",
    "wallets": "wallets",
    "job_logs": "job_logs",
    "admin_actions": "admin_actions",
    "system_config": "system_config",
}
"""Old tables whose rows are taken over, and the table each is in from now on. The others are kept aside only."""
_KEYS = {"job_logs": ("id", "job_id"), "system_config": ("id", "key")}
"""Columns that a foreign key may refer to, where there are more than id."""


@dataclass(slots=True)
class Links:
    """What became of them, each as a line for people."""

    problems: list[str] = field(default_factory=list)
    foreign_keys: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    policies_left: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


async def relink(connection: AsyncConnection[Any]) -> Links:
    """Re-point foreign keys, after all rows are in, and recreate policies. Raises psycopg.Error."""
    links = Links()
    for row in await fetch(connection, "adopt/own_foreign_keys"):
        await _drop(connection, row)
    for row in await fetch(connection, "adopt/foreign_keys"):
        await _repoint(connection, row, links)
    for row in await fetch(connection, "adopt/policies"):
        await _recreate(connection, row, links)
    rows = await fetch(connection, "adopt/left_behind")
    links.left += [f"{row['kind']} of {row['table']}: {row['what']}" for row in rows]
    return links


async def _repoint(connection: AsyncConnection[Any], row: Mapping[str, Any], links: Links) -> None:
    target, said = row["target"], f"{row['from_table']}.{row['name']}"
    if target not in TARGETS:
        links.left.append(f"foreign key of {row['from_table']}: {row['name']} still refers to adopted.{target}")
        return
    columns = row["columns"]
    if len(columns) != 1 or columns[0] not in _KEYS.get(target, ("id",)):
        links.problems.append(
            f"{said} refers to {target} ({', '.join(columns)}): let it refer to {target} (id), which is kept"
        )
        return
    definition = re.sub(r"REFERENCES \S+\(", f"REFERENCES public.{TARGETS[target]}(", row["definition"], count=1)
    await _drop(connection, row)
    try:
        async with connection.transaction():
            await _alter(connection, "adopt/add_constraint", row, definition=sql.SQL(definition))
    except psycopg.errors.ForeignKeyViolation as error:
        links.problems.append(f"{said} refers to a row that is not taken over: {error.diag.message_detail}")
        return
    links.foreign_keys.append(f"{said} → {TARGETS[target]} ({columns[0]})")


async def _recreate(connection: AsyncConnection[Any], row: Mapping[str, Any], links: Links) -> None:
    said = f"{row['table']}: {row['name']} ({row['command']} to {', '.join(row['roles'])})"
    if row["table"] not in TARGETS:
        links.policies_left.append(f"{said}: its table is kept aside only")
        return
    if not row["permissive"] and "PUBLIC" in row["roles"]:
        links.policies_left.append(
            f"{said}: it would restrict our own processes, too; create it TO anon, authenticated"
        )
        return
    text = sql.SQL(statement("adopt/create_policy")).format(
        name=sql.Identifier(row["name"]),
        table=sql.Identifier(TARGETS[row["table"]]),
        kind=sql.SQL("PERMISSIVE" if row["permissive"] else "RESTRICTIVE"),
        command=sql.SQL(row["command"]),
        roles=sql.SQL(", ".join(row["roles"])),
        using=_clause("USING", row["using_expression"]),
        check=_clause("WITH CHECK", row["check_expression"]),
    )
    try:
        async with connection.transaction():
            await connection.execute(text)
    except psycopg.errors.Error as error:
        # It names a column that wallets does not have, or the old table by name.
        links.policies_left.append(f"{said}: {error.diag.message_primary}")
        return
    links.policies.append(said)


def _clause(word: str, expression: str | None) -> sql.Composable:
    return sql.SQL("") if expression is None else sql.SQL(f"{word} ({expression})")


async def _drop(connection: AsyncConnection[Any], row: Mapping[str, Any]) -> None:
    await _alter(connection, "adopt/drop_constraint", row)


async def _alter(connection: AsyncConnection[Any], name: str, row: Mapping[str, Any], **more: sql.Composable) -> None:
    table = sql.SQL(row["from_table"])  # as regclass prints it, quoted where it has to be
    await connection.execute(sql.SQL(statement(name)).format(table=table, name=sql.Identifier(row["name"]), **more))


def policies_are_out_of_reach(links: Links) -> Sequence[str]:
    """A note where policies were kept: whom they no longer let in."""
    if not links.policies:
        return ()
    return ("policies are kept, but PUBLIC, anon and authenticated have no right on our tables: read as service_role",)
