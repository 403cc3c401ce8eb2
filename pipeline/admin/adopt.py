"""Takes over a database that has the runbooks' own tables: one transaction, rehearsed by rolling it back. The runbooks
are what operators worked by before Flagpost; their scripts made user_wallets, job_logs and more.

The old tables move whole into the schema ``adopted``. The schema of this version is created, and their rows are written
into it under their old ids. Foreign keys are re-pointed and policies created anew, and every row is looked for. What
cannot be mapped undoes all of it. A job of unknown state is cancelled and its wallet frozen: nothing is paid until a
person has released it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline.admin.addresses import own_branch
from pipeline.admin.adopt_links import TARGETS, Links, policies_are_out_of_reach, relink
from pipeline.admin.adopt_wallets import WalletReading, read_wallets
from pipeline.admin.errors import Conflict, InvalidValue
from pipeline.chains.values import Family
from pipeline.db.migrate import migrate_within
from pipeline.db.rows import fetch
from pipeline.db.statements import statement
from pipeline.keys.derivation import PublicBranch
from pipeline.settings import Settings, SettingsError

OLD_TABLES = (*TARGETS, "wallet_balances", "chains", "asset_on_chain", "worker_registry")
"""What the runbooks create, and we create again."""
WALLET_TABLES = ("user_wallets", "wallets")
FIRST_INDICES = 10_000
"""Compared with old addresses by default; a third of a second for each family."""
MOST_PROBLEMS = 50
"""In one message."""

Tell = Callable[[str], None]


@dataclass(slots=True)
class Adoption:
    """What was done, or would be."""

    applied: bool = False
    tables: tuple[str, ...] = ()
    """Old tables, each kept in the schema ``adopted``."""
    wallets: int = 0
    by_chain: dict[str, int] = field(default_factory=dict)
    ours: int = 0
    """Wallets that our mnemonic derives; the others are foreign."""
    foreign: int = 0
    frozen: list[str] = field(default_factory=list)
    """Addresses of ours that had a job of unknown state: not paid until released."""
    jobs: int = 0
    pending: int = 0
    unknown_jobs: list[dict[str, Any]] = field(default_factory=list)
    actions: int = 0
    settings: int = 0
    foreign_keys: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    policies_left: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What stays with the old tables and is to be made anew by hand where it is wanted."""
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The object that `flagpost adopt --json` prints."""
        return asdict(self)


class NothingToAdopt(Conflict):
    """None of the runbooks' own tables is there."""


class AdoptionRefused(Conflict):
    """Rows or constraints that cannot be mapped. ``problems`` names each."""

    def __init__(self, problems: Sequence[str]) -> None:
        shown = [f"  {problem}" for problem in problems[:MOST_PROBLEMS]]
        more = [f"  and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        super().__init__(
            "\n".join(
                [
                    f"this database cannot be adopted as it is, and was not changed; {len(problems)} to repair:",
                    *shown,
                    *more,
                ]
            ),
            "repair them in the old tables, then call flagpost adopt again",
        )
        self.problems = tuple(problems)


class _Rehearsed(Exception):
    """Undoes the transaction of a dry run."""


async def adopt(
    connection: AsyncConnection[Any],
    settings: Settings,
    *,
    apply: bool,
    networks: Mapping[str, str] | None = None,
    indices: int = FIRST_INDICES,
    tell: Tell = lambda text: None,
) -> Adoption:
    """Take the database over; without ``apply``, do all of it and roll back. ``networks``: chains by old network names.

    ``connection`` is in autocommit and belongs to the owner of the old tables. Raises NothingToAdopt, AdoptionRefused,
    Conflict while other sessions use the tables, InvalidValue, MigrationError.
    """
    adoption = Adoption()
    try:
        async with connection.transaction():
            await _adopt(connection, settings, networks or {}, indices, tell, adoption)
            if not apply:
                raise _Rehearsed
            await fetch(connection, "adopt/record", details=Jsonb(_summary(adoption)))
            adoption.applied = True
    except _Rehearsed:
        pass
    return adoption


async def _adopt(
    connection: AsyncConnection[Any],
    settings: Settings,
    networks: Mapping[str, str],
    indices: int,
    tell: Tell,
    adoption: Adoption,
) -> None:
    adoption.tables = await _old_tables(connection)
    tell(f"locking {', '.join(adoption.tables)}")
    await _lock(connection, adoption.tables)
    if others := await fetch(connection, "adopt/sessions"):
        adoption.notes.append(_others(others))
    await _move_aside(connection, adoption.tables)
    tell("creating the schema of this version")
    await migrate_within(connection)

    tell("reading wallets and comparing them with the mnemonic")
    reading = await _read_wallets(connection, settings, networks, indices, adoption)
    if reading.problems:
        raise AdoptionRefused(reading.problems)
    tell(f"writing {len(reading.wallets)} wallets")
    await _write(connection, adoption, reading)
    if not_frozen := await fetch(connection, "adopt/jobs_not_frozen"):
        raise AdoptionRefused([_not_frozen(row) for row in not_frozen])

    tell("re-pointing foreign keys and policies")
    links = await relink(connection)
    if links.problems:
        raise AdoptionRefused(links.problems)
    _note_links(adoption, links)
    (missing,) = await fetch(connection, "adopt/missing")
    if missing["wallets"] or missing["jobs"]:
        raise AdoptionRefused(
            [f"{count} rows of {name} would be lost or changed" for name, count in missing.items() if count]
        )


async def _old_tables(connection: AsyncConnection[Any]) -> tuple[str, ...]:
    """Raises NothingToAdopt, AdoptionRefused."""
    (before,) = await fetch(connection, "adopt/adopted")
    if before["migrated"]:
        raise NothingToAdopt(
            "this database has Flagpost's own tables"
            + (", and those it was adopted from are in the schema adopted" if before["has_schema"] else ""),
            "nothing to adopt; flagpost migrate brings it to this version",
        )
    rows = await fetch(connection, "adopt/tables", names=list(OLD_TABLES))
    tables = tuple(row["name"] for row in rows if row["kind"] in ("r", "p"))
    if not set(tables) & set(WALLET_TABLES):
        raise NothingToAdopt(
            "there is no table user_wallets or wallets in the schema public", "start with: flagpost migrate"
        )
    problems = (
        ["the schema adopted is there already, and the old tables are to be kept in it"] if before["has_schema"] else []
    )
    problems += [
        f"{row['name']} is a view or foreign table, not a table" for row in rows if row["kind"] not in ("r", "p")
    ]
    problems += [f"{row['name']} belongs to {row['owner']}: connect as that login" for row in rows if not row["ours"]]
    problems += [
        f"{row['name']}.id is of type {row['id_type']}: ids are kept, and have to be uuid"
        for row in rows
        if row["name"] in TARGETS and row["id_type"] != "uuid"
    ]
    if problems:
        raise AdoptionRefused(problems)
    return tables


async def _lock(connection: AsyncConnection[Any], tables: Sequence[str]) -> None:
    names = sql.SQL(", ").join(sql.Identifier("public", name) for name in tables)
    try:
        async with connection.transaction():
            await connection.execute(_text("adopt/lock").format(tables=names))
    except psycopg.errors.LockNotAvailable:
        rows = await fetch(connection, "adopt/holders", names=list(tables))
        who = (
            ", ".join(f"{row['pid']} ({row['login']}, {row['application']})" for row in rows)
            or "it has ended meanwhile"
        )
        raise Conflict(
            f"another session uses the old tables: {who}",
            "stop the old workers and whatever else writes, then try again; nothing was changed",
        ) from None


async def _move_aside(connection: AsyncConnection[Any], tables: Sequence[str]) -> None:
    await connection.execute(statement("adopt/create_schema"))
    for row in await fetch(connection, "adopt/functions"):
        function = sql.SQL(row["signature"])  # as the catalogue prints it, quoted where it has to be
        await connection.execute(_text("adopt/move_function").format(function=function))
    for name in tables:
        await connection.execute(_text("adopt/move_table").format(table=sql.Identifier(name)))


async def _read_wallets(
    connection: AsyncConnection[Any],
    settings: Settings,
    networks: Mapping[str, str],
    indices: int,
    adoption: Adoption,
) -> WalletReading:
    chains = {row["name"]: (row["id"], row["family"]) for row in await fetch(connection, "adopt/chains")}
    unknown = sorted(set(networks.values()) - chains.keys())
    if unknown:
        raise InvalidValue(f"no such chain: {', '.join(unknown)}", f"there are {', '.join(chains)}")
    old_chains: Any = []
    if "chains" in adoption.tables:
        old_chains = (await fetch(connection, "adopt/old_chains"))[0]["chains"]
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for table in WALLET_TABLES:
        if table not in adoption.tables:
            continue
        query = _text("adopt/wallets").format(table=sql.Identifier(table))
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, {"chains": Jsonb(old_chains)})
            rows += [(table, row) for row in await cursor.fetchall()]
    reading = read_wallets(rows, chains, networks, _branches(settings, adoption), indices)
    reading.problems += await _missing_users(connection, reading)
    adoption.wallets, adoption.by_chain = len(reading.wallets), dict(reading.by_chain)
    adoption.ours = sum(wallet.derivation_index is not None for wallet in reading.wallets)
    adoption.foreign = adoption.wallets - adoption.ours
    adoption.notes += reading.notes
    adoption.notes += [
        f"{place} is reserved for our own wallets: kept as foreign, empty it by hand" for place in reading.reserved
    ]
    return reading


def _branches(settings: Settings, adoption: Adoption) -> dict[str, PublicBranch]:
    try:
        return {family.value: own_branch(settings, family.value) for family in (Family.TRON, Family.EVM)}
    except SettingsError as error:
        adoption.notes.append(f"no mnemonic, so that every wallet is taken as foreign and none is ever paid: {error}")
        return {}


async def _missing_users(connection: AsyncConnection[Any], reading: WalletReading) -> list[str]:
    ids = sorted({wallet.user_id for wallet in reading.wallets if wallet.user_id is not None})
    rows = await fetch(connection, "adopt/users", ids=ids)
    missing: set[UUID] = {row["id"] for row in rows}
    return [
        f"wallet {wallet.id} belongs to user {wallet.user_id}, who is not in auth.users"
        for wallet in reading.wallets
        if wallet.user_id in missing
    ]


async def _write(connection: AsyncConnection[Any], adoption: Adoption, reading: WalletReading) -> None:
    await connection.execute(statement("adopt/create_mapping"))
    async with connection.cursor() as cursor, cursor.copy(statement("adopt/copy_mapping")) as copy:
        for wallet in reading.wallets:
            await copy.write_row(
                (
                    wallet.id,
                    wallet.user_id,
                    wallet.chain_id,
                    wallet.address,
                    wallet.old_address,
                    wallet.derivation_index,
                    wallet.needs_gas,
                    wallet.needs_consolidation,
                    wallet.token_balance,
                    wallet.coin_balance,
                    wallet.last_sync,
                    wallet.created_at,
                    wallet.updated_at,
                )
            )
    has_jobs = "job_logs" in adoption.tables
    await connection.execute(statement("adopt/read_jobs" if has_jobs else "adopt/no_jobs"))
    await connection.execute(statement("adopt/insert_wallets"))
    await _paused(
        connection, "wallet_balances", "adopt/insert_balances", "adopt/recheck_balances", only="balance_flags_update"
    )
    await _paused(connection, "job_logs", "adopt/insert_jobs")
    await connection.execute(statement("adopt/count_jobs"))
    if "admin_actions" in adoption.tables:
        adoption.actions = (await connection.execute(statement("adopt/insert_actions"))).rowcount
    if "system_config" in adoption.tables:
        adoption.settings = (await connection.execute(statement("adopt/insert_config"))).rowcount
    (counts,) = await fetch(connection, "adopt/counts")
    adoption.jobs, adoption.pending = counts["taken"], counts["pending"]
    adoption.unknown_jobs, adoption.frozen = counts["unknown"], counts["frozen"]
    if counts["unknown_types"]:
        adoption.notes.append(
            f"{counts['jobs'] - counts['taken']} jobs of other types stay in adopted.job_logs alone: "
            f"{', '.join(counts['unknown_types'])}"
        )
    aside = [name for name in adoption.tables if name not in TARGETS]
    if aside:
        adoption.notes.append(
            f"kept in the schema adopted alone, because it is read or set up anew: {', '.join(aside)}"
        )


def _others(sessions: Sequence[Mapping[str, Any]]) -> str:
    named = ", ".join(f"{row['login']} {row['application']} ({row['sessions']})" for row in sessions)
    return f"other sessions are connected: {named}. Stop old workers among them first: they would pay, too"


def _not_frozen(row: Mapping[str, Any]) -> str:
    return (
        f"job {row['job_id']} is {row['status']}, of type '{row['job_type']}', which Flagpost has not, and names our "
        f"wallet {row['wallet']}: find out whether it paid, and set its status to completed, failed or cancelled"
    )


async def _paused(connection: AsyncConnection[Any], table: str, *names: str, only: str | None = None) -> None:
    """Run statements while the triggers of ``table`` do not fire, or one of them."""
    trigger = sql.SQL("USER") if only is None else sql.Identifier(only)
    which = {"table": sql.Identifier(table), "trigger": trigger}
    await connection.execute(_text("adopt/pause_triggers").format(**which))
    for name in names:
        await connection.execute(statement(name))
    await connection.execute(_text("adopt/resume_triggers").format(**which))


def _note_links(adoption: Adoption, links: Links) -> None:
    adoption.foreign_keys, adoption.policies = links.foreign_keys, links.policies
    adoption.policies_left, adoption.left = links.policies_left, links.left
    adoption.notes += policies_are_out_of_reach(links)


def _summary(adoption: Adoption) -> dict[str, Any]:
    """For admin_actions: counts, not lists."""
    whole = json.loads(json.dumps(adoption.as_json(), default=str))
    return {
        name: len(value) if isinstance(value, list) and name != "tables" else value for name, value in whole.items()
    }


def _text(name: str) -> sql.SQL:
    return sql.SQL(statement(name))
