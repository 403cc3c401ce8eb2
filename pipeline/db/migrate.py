"""Bring a database to this version of the schema.

Numbered files in sql/migrations are applied once, in order, and recorded with their checksum. What can be replaced is
applied every time, in the order functions, views, triggers, roles and by file name: a trigger that somebody dropped
by hand is back after the next ``flagpost migrate``. Sequences that are behind their rows are moved past them. All of
it is one transaction under a lock: a database is migrated or as before.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from loguru import logger
from psycopg import AsyncConnection, errors

from pipeline.db import sequences
from pipeline.db.dsn import with_application
from pipeline.db.errors import DatabaseIsNewer, MigrationEdited, MigrationError
from pipeline.db.pool import CONNECT_TIMEOUT, Connection
from pipeline.db.sources import sql_directory, triggers_directory
from pipeline.db.statements import statement

OLDEST_SERVER = 15
ATTEMPTS = 5
"""Against a database at work: replacing a trigger may meet a deadlock or a lock that is held too long, and roles,
which all databases of a server share, another database's migrator."""
PAUSE = 0.2
"""Seconds before the second attempt; doubled from there."""


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
class Migrated:
    """What a migration did."""

    applied: tuple[str, ...]
    """Names of the migrations that were new to this database."""
    replaced: int
    """How many files of functions, views, triggers and roles were applied again."""
    version: int
    advanced: tuple[str, ...] = ()
    """Sequences that were behind their rows."""


async def migrate(dsn: str, schema: Schema | None = None) -> Migrated:
    """Migrate the database at ``dsn``. Safe to call at any time, from several processes at once.

    Raises DatabaseIsNewer, MigrationEdited, or MigrationError with file and line of what failed; the database is then
    as it was. Raises psycopg.OperationalError when it cannot be reached.
    """
    schema = schema or Schema.of_this_version()
    pause = PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with await AsyncConnection.connect(
                with_application(dsn, "migrate"), autocommit=True, connect_timeout=CONNECT_TIMEOUT
            ) as connection:
                await _check_server(connection)
                async with connection.transaction():
                    return await _migrate(connection, schema)
        except psycopg.Error as error:
            if attempt == ATTEMPTS or not _passes(error):
                raise
            logger.info("Migration met another transaction, trying again: {}", error.diag.message_primary)
        await asyncio.sleep(pause)
        pause *= 2
    raise AssertionError("unreachable")


async def installed_version(connection: Connection) -> int:
    """The schema version of the database, 0 if it was never migrated."""
    if not await _has_ledger(connection):
        return 0
    rows = await (await connection.execute(statement("migrate/ledger"))).fetchall()
    return int(rows[-1][0]) if rows else 0


async def _migrate(connection: Connection, schema: Schema) -> Migrated:
    await _become_the_migrator(connection)
    await connection.execute(statement("migrate/begin"))
    applied = await _applied(connection)
    _compare(schema, applied)
    if not applied:
        await _apply(connection, "schema_migrations", statement("migrate/create_ledger"))
    new = [migration for migration in schema.migrations if migration.version not in applied]
    for migration in new:
        await _apply(connection, f"sql/migrations/{migration.name}.sql", migration.text)
        await connection.execute(
            statement("migrate/record"),
            {"version": migration.version, "name": migration.name, "checksum": migration.checksum},
        )
    for path in schema.replaceable:
        await _apply(connection, f"{path.parent.name}/{path.name}", path.read_text(encoding="utf-8"))
    applied_names = tuple(migration.name for migration in new)
    return Migrated(applied_names, len(schema.replaceable), schema.version, await _advance_sequences(connection))


async def _advance_sequences(connection: Connection) -> tuple[str, ...]:
    row = await (await connection.execute(statement("migrate/can_advance_sequences"))).fetchone()
    return tuple(await sequences.advance(connection)) if row is not None and row[0] else ()


async def _check_server(connection: Connection) -> None:
    row = await (await connection.execute(statement("migrate/server"))).fetchone()
    if row is not None and row[2] // 10000 < OLDEST_SERVER:
        raise MigrationError(
            f"The server of database {row[1]} is Postgres {row[2] // 10000}: {OLDEST_SERVER} is needed"
        )


async def _become_the_migrator(connection: Connection) -> None:
    row = await (await connection.execute(statement("migrate/try_lock"))).fetchone()
    if row is not None and not row[0]:
        logger.info("Another process migrates this database, waiting for it")
        await connection.execute(statement("migrate/lock"))


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
    return "\n  ".join(parts)


def _passes(error: psycopg.Error) -> bool:
    """Whether the same migration may succeed a moment later."""
    if isinstance(error, errors.DeadlockDetected | errors.LockNotAvailable):
        return True
    # Roles are shared by all databases of a server, and CREATE ROLE and GRANT of two migrators collide without a lock.
    concurrently = "concurrently updated" in (error.diag.message_primary or "")
    return concurrently or (isinstance(error, errors.UniqueViolation) and error.diag.table_name == "pg_authid")


def _migration(path: Path) -> Migration:
    number = path.name.split("_", 1)[0]
    if not number.isdigit():
        raise MigrationError(f"The migration {path} does not start with its number, as 0001_name.sql does")
    return Migration(int(number), path.stem, path.read_text(encoding="utf-8"))
