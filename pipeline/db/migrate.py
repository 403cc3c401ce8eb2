"""Bring a database to this version of the schema.

Numbered files in sql/migrations are applied once, in order, and recorded with their checksum. What can be replaced is
applied every time, in the order functions, views, triggers, roles and by file name: a trigger that somebody dropped
by hand is back after the next ``flagpost migrate``. Sequences that are behind their rows are moved past them. All of
it is one transaction under a lock of the ledger: a database
is migrated or as before.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from loguru import logger
from psycopg import AsyncConnection, IsolationLevel, errors

from pipeline.db import sequences
from pipeline.db.errors import DatabaseIsNewer, MigrationEdited, MigrationError
from pipeline.db.pool import Connection
from pipeline.db.session import CONNECT_TIMEOUT, pooler_dsn, session_dsn, settings_of_transaction
from pipeline.db.sources import sql_directory, triggers_directory
from pipeline.db.statements import statement
from pipeline.db.values import adapters

OLDEST_SERVER = 15
ATTEMPTS = 5
"""Against a database at work: replacing a trigger may meet a deadlock or a lock that is held too long, and roles,
which all databases of a server share, another database's migrator."""
CREATED_TWICE = frozenset({"pg_authid", "pg_class", "pg_namespace", "pg_type"})
"""Catalogues in which two migrators of a fresh database, or of two databases (roles), may enter the same name."""
PAUSE = 0.2
"""Seconds before the second attempt; doubled from there."""
_TUPLE_CONCURRENTLY_UPDATED = ("simple_heap_update", "simple_heap_delete")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    """The file's name without its ending: ``0001_chains``."""
    text: str

    @property
    def checksum(self) -> str:
        """Of the text, whatever its line endings."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Schema:
    """Everything that is applied."""

    migrations: Sequence[Migration]
    replaceable: Sequence[Path]

    @property
    def version(self) -> int:
        """Of the newest migration."""
        return self.migrations[-1].version

    @classmethod
    def of_this_version(cls) -> "Schema":
        """The files of this installation."""
        return cls.read(sql_directory(), triggers_directory())

    @classmethod
    def read(cls, sql: Path, triggers: Path) -> "Schema":
        """The files under these directories. Raises MigrationError if the numbers have gaps or repeat."""
        migrations = [_migration(path) for path in sorted((sql / "migrations").glob("*.sql"))]
        if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)) or not migrations:
            raise MigrationError(f"The files in {sql / 'migrations'} are not numbered 0001, 0002, … without a gap")
        directories = (sql / "functions", sql / "views", triggers, sql / "roles")
        return cls(migrations, [path for directory in directories for path in sorted(directory.glob("*.sql"))])


@dataclass(frozen=True, slots=True)
class Connect:
    """Who may connect to the database (sql/functions/restrict_connect.sql)."""

    database: str
    restricted: bool | None
    """Whether CONNECT was taken from PUBLIC by this migration; None: only the owner of the database can."""
    kept_by: tuple[str, ...]
    """Roles that were given it by name, because they work there already."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did."""

    applied: tuple[str, ...]
    """Names of the migrations that were new to this database."""
    replaced: int
    """How many files of functions, views, triggers and roles were applied again."""
    version: int
    connect: Connect | None = None
    """What became of everybody's right to connect; None: the schema says nothing of it."""
    advanced: tuple[str, ...] = ()
    """Sequences that were behind their rows."""


async def migrate(dsn: str, schema: Schema | None = None, *, pooler: bool = False) -> Migrated:
    """Migrate the database at ``dsn``. Safe to call at any time, from several processes at once. ``pooler``: the DSN
    goes through PgBouncer or the like.

    Raises DatabaseIsNewer, MigrationEdited, or MigrationError with file and line of what failed, or with who holds a
    lock for too long; the database is then as it was. Raises psycopg.OperationalError when it cannot be reached.
    """
    schema = schema or Schema.of_this_version()
    pause = PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with await AsyncConnection.connect(
                (pooler_dsn if pooler else session_dsn)(dsn, "migrate"),
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT,
                prepare_threshold=None,
                context=adapters(),
            ) as connection:
                # Said with BEGIN: whatever is the default, what others commit meanwhile is to be seen.
                await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
                await _check_server(connection)
                async with connection.transaction():
                    return await _migrate(connection, schema)
        except psycopg.Error as error:
            if not _passes(error):
                raise
            if attempt == ATTEMPTS:
                raise MigrationError(await _stopped_by(dsn, error)) from error
            logger.info("Migration met another transaction, trying again: {}", error.diag.message_primary)
        await asyncio.sleep(pause)
        pause *= 2
    raise AssertionError("unreachable")


async def migrate_within(connection: Connection, schema: Schema | None = None) -> Migrated:
    """Migrate within the transaction that ``connection`` is in, which its owner commits. Raises as ``migrate``."""
    await _check_server(connection)
    return await _migrate(connection, schema or Schema.of_this_version())


async def installed_version(connection: Connection) -> int:
    """The schema version of the database, 0 if it was never migrated."""
    if not await _has_ledger(connection):
        return 0
    rows = await (await connection.execute(statement("migrate/ledger"))).fetchall()
    return int(rows[-1][0]) if rows else 0


async def _migrate(connection: Connection, schema: Schema) -> Migrated:
    await connection.execute(statement("migrate/begin"))
    await connection.execute(statement("migrate/settings"), settings_of_transaction())
    await _become_the_migrator(connection)
    applied = await _applied(connection)
    _compare(schema, applied)
    new = [migration for migration in schema.migrations if migration.version not in applied]
    sequences_before = await _sequences(connection)
    for migration in new:
        await _apply(connection, f"sql/migrations/{migration.name}.sql", migration.text)
        await connection.execute(
            statement("migrate/record"),
            {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
        )
    for path in schema.replaceable:
        await _apply(connection, f"{path.parent.name}/{path.name}", path.read_text(encoding="utf-8"))
    created = sorted(await _sequences(connection) - sequences_before)
    await connection.execute(statement("migrate/log_sequences"), {"names": created})
    applied_names = tuple(migration.name for migration in new)
    return Migrated(
        applied_names,
        len(schema.replaceable),
        schema.version,
        connect=await _restrict_connect(connection),
        advanced=await _advance_sequences(connection),
    )


async def _sequences(connection: Connection) -> set[str]:
    return {name for (name,) in await (await connection.execute(statement("migrate/sequences"))).fetchall()}


async def _advance_sequences(connection: Connection) -> tuple[str, ...]:
    row = await (await connection.execute(statement("migrate/can_advance_sequences"))).fetchone()
    return tuple(await sequences.advance(connection)) if row is not None and row[0] else ()


async def _check_server(connection: Connection) -> None:
    row = await (await connection.execute(statement("migrate/server"))).fetchone()
    if row is not None and row[2] // 10000 < OLDEST_SERVER:
        raise MigrationError(
            f"The server of database {row[1]} is Postgres {row[2] // 10000}: {OLDEST_SERVER} is needed"
        )
    if row is not None and not row[3]:
        raise MigrationError(
            f"session_replication_role is replica for {row[0]}, so that no trigger fires: as a superuser, "
            f"ALTER ROLE {row[0]} IN DATABASE {row[1]} SET session_replication_role = origin"
        )


async def _become_the_migrator(connection: Connection) -> None:
    """Create the ledger if it is not there, and lock it until the transaction ends. Raises MigrationError where another
    migrator does not come to its end."""
    if not await _has_ledger(connection):
        # Where two do so at once, one of them finds the name taken and tries again.
        await _apply(connection, "schema_migrations", statement("migrate/create_ledger"))
    try:
        async with connection.transaction():
            await _apply(connection, "schema_migrations", statement("migrate/lock"))
        return
    except errors.LockNotAvailable:
        logger.info("Another process migrates this database, waiting for it: {}", await _blockers(connection))
    try:
        async with connection.transaction():
            await _apply(connection, "schema_migrations", statement("migrate/wait_for_lock"))
    except errors.LockNotAvailable as error:
        raise MigrationError(
            f"Another process has been migrating this database for 10 minutes: {await _blockers(connection)}"
        ) from error
    await connection.execute(statement("migrate/begin"))


async def _restrict_connect(connection: Connection) -> Connect | None:
    row = await (await connection.execute(statement("migrate/restricts_connect"))).fetchone()
    if row is None or not row[0]:
        return None
    row = await (await connection.execute(statement("migrate/restrict_connect"))).fetchone()
    assert row is not None  # noqa: S101 - a function that returns one row
    restricted, kept_by = row
    return Connect(connection.info.dbname, restricted, tuple(kept_by))


async def _stopped_by(dsn: str, error: psycopg.Error) -> str:
    """What kept every attempt from its end, and who."""
    said = f"The database is as it was: {error.diag.message_primary or error}, {ATTEMPTS} times"
    if not isinstance(error, errors.LockNotAvailable):
        return f"{said}; try again"
    async with await AsyncConnection.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT) as connection:
        return f"{said}. Locks are held by: {await _blockers(connection)}"


async def _blockers(connection: Connection) -> str:
    """Sessions that a migration has to wait for, and how to end them."""
    rows = await (await connection.execute(statement("migrate/blockers"))).fetchall()
    told = [
        f"session {pid} (user {user}, application {application or 'unknown'}, holds {relation}, "
        f"transaction since {'unknown' if since is None else since.isoformat(' ', 'seconds')})"
        for pid, user, application, since, relation in rows
    ]
    if not told:
        return "a session that has ended meanwhile"
    return f"{', '.join(told)}; to end one: SELECT pg_terminate_backend(pid)"


async def _has_ledger(connection: Connection) -> bool:
    row = await (await connection.execute(statement("migrate/has_ledger"))).fetchone()
    return row is not None and bool(row[0])


async def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    """Name and checksum by version."""
    if not await _has_ledger(connection):
        return {}
    rows = await (await connection.execute(statement("migrate/ledger"))).fetchall()
    return {version: (name, checksum) for version, name, checksum in rows}


def _compare(schema: Schema, applied: dict[int, tuple[str, str]]) -> None:
    newest = max(applied, default=0)
    if newest > schema.version:
        raise DatabaseIsNewer(
            f"The database has schema version {newest}, this Flagpost knows {schema.version}: "
            "use the newer Flagpost that migrated it"
        )
    for migration in schema.migrations:
        name, checksum = applied.get(migration.version, (migration.name, migration.checksum))
        if (name, checksum) != (migration.name, migration.checksum):
            raise MigrationEdited(
                f"The database was migrated with another text of {name} than the one here: restore the file and put "
                "the change into a new migration (a database for trying things out can be deleted instead)"
            )


async def _apply(connection: Connection, name: str, text: str) -> None:
    try:
        await connection.execute(text.encode())
    except psycopg.Error as error:
        if _passes(error):
            raise
        raise MigrationError(_explain(connection, name, text, error)) from error


def _explain(connection: Connection, name: str, text: str, error: psycopg.Error) -> str:
    diagnostics = error.diag
    position = int(diagnostics.statement_position or 0)
    line = f", line {text.count(chr(10), 0, position) + 1}" if position else ""
    parts = [f"{name}{line}: {diagnostics.message_primary or error}"]
    parts += [part for part in (diagnostics.message_detail, diagnostics.message_hint, diagnostics.context) if part]
    if isinstance(error, errors.InsufficientPrivilege) and not diagnostics.message_hint:
        user, database = connection.info.user, connection.info.dbname
        parts.append(
            f"{user} has to own the database {database} and be allowed to create roles: "
            f"ALTER DATABASE {database} OWNER TO {user}; ALTER ROLE {user} CREATEROLE"
        )
    if isinstance(error, errors.DuplicateTable | errors.WrongObjectType):
        parts.append("nothing was changed; where tables of your own have these names, take them over: flagpost adopt")
    return "\n  ".join(parts)


def _passes(error: psycopg.Error) -> bool:
    """Whether the same migration may succeed a moment later."""
    if isinstance(error, errors.DeadlockDetected | errors.LockNotAvailable):
        return True
    # Roles are shared by all databases of a server, and CREATE ROLE and GRANT of two migrators collide without a lock.
    # By the place it is raised at: the message is in the language of the server (lc_messages).
    concurrently = error.sqlstate == "XX000" and error.diag.source_function in _TUPLE_CONCURRENTLY_UPDATED
    return concurrently or (isinstance(error, errors.UniqueViolation) and error.diag.table_name in CREATED_TWICE)


def _migration(path: Path) -> Migration:
    number = path.name.split("_", 1)[0]
    if not number.isdigit():
        raise MigrationError(f"The migration {path} does not start with its number, as 0001_name.sql does")
    return Migration(int(number), path.stem, path.read_text(encoding="utf-8"))
