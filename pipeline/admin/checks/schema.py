"""Doctor's questions about the schema: is everything installed as this version installs it, and by whom.

Triggers, constraints, indexes, policies and tables are compared with ``sql/manifest.txt``, which lists what a fresh
database has (``make manifest`` writes it); functions with the files that create them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from pipeline.admin.checks.check import Check, Examination, Trouble
from pipeline.admin.checks.findings import Level
from pipeline.db.sources import sql_directory, triggers_directory
from pipeline.db.statements import without_comments

SHOWN = 5
"""Objects named in one message."""

_FUNCTION = re.compile(
    r"\bCREATE\s+OR\s+REPLACE\s+FUNCTION\s+(?P<name>\w+)\s*\((?P<head>.*?)\bAS\s+\$\$(?P<body>.*?)\$\$",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Function:
    """One function as its file creates it."""

    name: str
    body: str
    definer: bool
    pinned: bool
    """Its search_path is."""


def manifest() -> Iterator[str]:
    """What a fresh database of this version has, one line an object: its kind, its table, its name, and what it is."""
    for line in (sql_directory() / "manifest.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


@cache
def functions() -> Mapping[str, tuple[Function, ...]]:
    """The functions of ``sql/functions`` and ``triggers``, by name."""
    found: dict[str, list[Function]] = {}
    for directory in (sql_directory() / "functions", triggers_directory()):
        for path in sorted(directory.glob("*.sql")):
            for match in _FUNCTION.finditer(path.read_text(encoding="utf-8")):
                head = without_comments(match["head"]).upper()
                function = Function(
                    match["name"].lower(), match["body"], "SECURITY DEFINER" in head, "SET SEARCH_PATH" in head
                )
                found.setdefault(function.name, []).append(function)
    return {name: tuple(overloads) for name, overloads in found.items()}


def _objects(kinds: Iterable[str], examination: Examination) -> Iterator[Trouble]:
    """What is missing, not as it was made, or out of force, of these kinds of objects."""
    rows = {row["line"]: row["state"] for row in examination.rows_once("schema_objects")}
    there = {_named(line) for line in rows}
    wanted = [line for line in manifest() if line.split(" ", 1)[0] in kinds]
    missing = [_shown(line) for line in wanted if _named(line) not in there]
    changed = [_shown(line) for line in wanted if line not in rows and _named(line) in there]
    if missing:
        yield Trouble(f"missing: {_listed(missing)}", ids=missing)
    if changed:
        yield Trouble(f"not as this version makes it: {_listed(changed)}", ids=changed)
    for line in wanted:
        if rows.get(line):
            yield Trouble(f"{_shown(line)}: {rows[line]}", ids=[_shown(line)])


def _named(line: str) -> tuple[str, ...]:
    return tuple(line.split(" ")[:3])


def _shown(line: str) -> str:
    """``trigger wallets balances_exist …`` as people say it."""
    kind, table, *rest = line.split(" ")
    return f"{kind} {rest[0]} on {table}" if rest else f"{kind} {table}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _triggers(examination: Examination) -> Iterator[Trouble]:
    yield from _objects(["trigger"], examination)
    known = {_named(line) for line in manifest()}
    tables = {line.split(" ")[1] for line in manifest()}
    foreign = [
        f"{name} on {table} calls {function}()"
        for kind, table, name, function in (
            row["line"].split(" ")[:4]
            for row in examination.rows_once("schema_objects")
            if row["line"].startswith("trigger ")
        )
        if table in tables and (kind, table, name) not in known
    ]
    if foreign:
        yield Trouble(f"triggers of others fire on our tables: {_listed(foreign)}", Level.NOTE, ids=foreign)


def _constraints(examination: Examination) -> Iterator[Trouble]:
    yield from _objects(["constraint"], examination)


def _indexes(examination: Examination) -> Iterator[Trouble]:
    """One that is unique keeps payments from being made twice; the others keep statements fast."""
    for trouble in _objects(["index"], examination):
        unique = {
            " ".join(line.split(" ")[1:3])
            for line in manifest()
            if line.startswith("index ") and line.endswith(" unique")
        }
        matter = any(f"{name.split(' ')[3]} {name.split(' ')[1]}" in unique for name in trouble.ids)
        yield Trouble(trouble.message, Level.FAIL if matter else Level.WARN, ids=trouble.ids)


def _security(examination: Examination) -> Iterator[Trouble]:
    yield from _objects(["table", "policy"], examination)


def _functions(examination: Examination) -> Iterator[Trouble]:
    installed: dict[str, list[Function]] = {}
    for row in examination.rows("schema_functions"):
        pinned = any(setting.startswith("search_path=") for setting in row["settings"] or ())
        function = Function(row["name"], row["body"], row["definer"], pinned)
        installed.setdefault(function.name, []).append(function)
    missing = sorted(name for name in functions() if name not in installed)
    changed = sorted(
        name
        for name, overloads in functions().items()
        if name in installed and any(function not in installed[name] for function in overloads)
    )
    more = sorted(name for name, overloads in functions().items() if len(installed.get(name, ())) > len(overloads))
    if missing:
        yield Trouble(f"functions are missing: {_listed(missing)}", ids=missing)
    if changed:
        yield Trouble(
            f"functions are not those of this version: {_listed(changed)}",
            cure="find out who replaced them, and what they did meanwhile; then: flagpost migrate",
            ids=changed,
        )
    if more:
        yield Trouble(
            f"functions of the same names with other parameters may be called instead: {_listed(more)}",
            cure="find out who made them; DROP FUNCTION public.…",
            ids=more,
        )


def _owners(examination: Examination) -> Iterator[Trouble]:
    tables = sorted({line.split(" ")[1] for line in manifest() if line.startswith("table ")})
    for row in examination.rows("schema_owners", tables=tables, functions=sorted(functions())):
        yield Trouble(
            f"{row['kind']} {row['name']} belongs to {row['owner']}, all else to {row['expected']}",
            cure=f"ALTER {row['kind'].upper()} {row['name']} OWNER TO {row['expected']}",
            ids=row["ids"],
        )


CHECKS = (
    Check(
        "triggers",
        right="every trigger is there, fires, and calls what it should",
        ask=_triggers,
        cure="run: flagpost migrate; nothing happens by itself until then",
    ),
    Check(
        "schema.functions",
        right="every function is the one of this version",
        ask=_functions,
        cure="run: flagpost migrate",
    ),
    Check(
        "schema.constraints",
        right="every constraint is there",
        ask=_constraints,
        cure="add it again as sql/migrations has it, after looking for rows that violate it",
    ),
    Check(
        "schema.indexes",
        right="every index is there and valid",
        ask=_indexes,
        cure="create it again as sql/migrations has it; one that is not valid: REINDEX INDEX CONCURRENTLY …",
    ),
    Check(
        "schema.row_security",
        right="every table has row level security with the policies of this version, and survives a crash",
        ask=_security,
        cure="run: flagpost migrate; an unlogged table: ALTER TABLE … SET LOGGED",
    ),
    Check(
        "schema.owners",
        right="tables and functions belong to one role",
        ask=_owners,
        cure="ALTER TABLE … OWNER TO …",
    ),
    Check(
        "sequences",
        right="every sequence is past the rows it numbers",
        statement="sequences",
        says="{sequence} had drawn {last_drawn}, and {table}.{column} goes up to {highest}: inserts fail",
        cure="run: flagpost migrate (processes that run mend it as they meet it)",
    ),
)
