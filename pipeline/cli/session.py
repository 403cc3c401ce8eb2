"""What commands share: a connection, a chain by its name, our own addresses, and errors in plain words."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from pipeline.chains.errors import InvalidAddress
from pipeline.chains.evm.codec import address as evm_address
from pipeline.chains.tron.codec import address as tron_address
from pipeline.cli.output import CommandError
from pipeline.cli.refusals import in_words
from pipeline.db.dsn import behind_pooler, database_dsn, without_password
from pipeline.db.errors import WrongSession
from pipeline.db.session import pooler_dsn, session_dsn, settle, settle_now
from pipeline.db.statements import statement
from pipeline.db.values import adapters
from pipeline.embedded.ready import wait_until_ready
from pipeline.keys.derivation import Family, PrivateBranch, PublicBranch
from pipeline.keys.mnemonic import InvalidMnemonic
from pipeline.settings import Settings

CONNECT_TIMEOUT_SECONDS = 10

_NO_SCHEMA = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn)

Row = Mapping[str, Any]
Connection = psycopg.Connection[dict[str, Any]]


@contextmanager
def database(settings: Settings, name: str) -> Iterator[Connection]:
    """A connection in one transaction, committed at the end of the block.

    Raises CommandError when the server is not there, refuses us, gives no session that can be used, or has no schema.
    """
    dsn = ready_dsn(settings)
    with _refusals(settings, dsn):
        connection = _connect(settings, dsn, name)
        with connection:
            yield connection


@asynccontextmanager
async def async_database(settings: Settings, name: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """As ``database``, for commands that use the asynchronous rooms; in autocommit. Raises the same."""
    dsn = await asyncio.to_thread(ready_dsn, settings)
    with _refusals(settings, dsn):
        connection = await _connect_async(settings, dsn, name)
        async with connection:
            yield connection


def ready_dsn(settings: Settings) -> str:
    """The DSN of the project's database; of the embedded one that is just being started, once it is there. Raises
    CommandError if nobody serves that."""
    if settings.database_url is None and not wait_until_ready(settings.home):
        raise not_running(settings)
    return database_dsn(settings)


def speaks_to_a_pooler(error: Exception) -> bool:
    """Whether a connection was refused because of the settings it begins with, as PgBouncer and its like do."""
    return "startup parameter" in str(error)


class _Unreachable(Exception):
    """No connection could be made."""


def _connect(settings: Settings, dsn: str, name: str) -> Connection:
    for way in _ways(settings, dsn, name):
        try:
            connection = psycopg.connect(way.dsn, row_factory=dict_row, **_CONNECTING)
        except psycopg.OperationalError as error:
            way.give_up(error)
            continue
        try:
            settle_now(connection, name, pooler=way.pooler)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection
    raise AssertionError("the last way returns or raises")


async def _connect_async(settings: Settings, dsn: str, name: str) -> AsyncConnection[TupleRow]:
    for way in _ways(settings, dsn, name):
        try:
            connection = await AsyncConnection.connect(way.dsn, **_CONNECTING)
        except psycopg.OperationalError as error:
            way.give_up(error)
            continue
        try:
            await settle(connection, name, pooler=way.pooler)
        except BaseException:
            await connection.close()
            raise
        return connection
    raise AssertionError("the last way returns or raises")


_CONNECTING: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "context": adapters(),
}


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to connect."""

    dsn: str
    pooler: bool

    def give_up(self, error: psycopg.OperationalError) -> None:
        """Return where another way may do better; raises _Unreachable."""
        if self.pooler or not speaks_to_a_pooler(error):
            raise _Unreachable(str(error)) from None


def _ways(settings: Settings, dsn: str, name: str) -> list[_Way]:
    """In this order: whoever types a command may not have said that the DSN leads to a pooler."""
    pooled = _Way(pooler_dsn(dsn, name), pooler=True)
    if behind_pooler(settings):
        return [pooled]
    return [_Way(session_dsn(dsn, name, statement_timeout=None), pooler=False), pooled]


@contextmanager
def _refusals(settings: Settings, dsn: str) -> Iterator[None]:
    """What the database refuses, as a CommandError that says what to do."""
    try:
        yield
    except _Unreachable as error:
        raise unreachable(settings, dsn, error) from None
    except WrongSession as error:
        raise CommandError(str(error)) from None
    except _NO_SCHEMA as error:
        raise _no_schema(error) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise CommandError(_first_line(error), "use a DATABASE_URL whose user may do this") from None
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise read_only(error) from None
    except psycopg.Error as error:
        raise in_words(error) or error from None


def read_only(error: Exception) -> CommandError:
    """The server takes no writes."""
    return CommandError(
        f"the database takes no writes: {_first_line(error)}",
        "let DATABASE_URL name the primary, or take default_transaction_read_only back; flagpost doctor says which",
    )


def unreachable(settings: Settings, dsn: str, error: Exception) -> CommandError:
    """The server does not answer: where we looked, and what to do."""
    if settings.database_url is None:
        return not_running(settings)
    return CommandError(
        f"the database does not answer ({without_password(dsn)}): {_first_line(error)}",
        "check DATABASE_URL, that the server runs, and that this machine may connect",
    )


def not_running(settings: Settings) -> CommandError:
    """Nobody serves the embedded database."""
    return CommandError(
        f"the embedded database under {settings.home} is not running",
        "start it with `flagpost up` (everything) or `flagpost db start`, or set DATABASE_URL to your own server",
    )


def chain_named(connection: Connection, name: str) -> Row:
    """The chain's row. Raises CommandError listing the chains there are."""
    row = connection.execute(statement("wallets/chain"), {"chain": name}).fetchone()
    if row is not None:
        return row
    known = [other["name"] for other in connection.execute(statement("wallets/chain_names"))]
    there = f"there are: {', '.join(known)}" if known else "there is none yet"
    raise CommandError(f"no chain is called {name!r}; {there}", "add it: flagpost chains add --help")


def canonical_address(family: str, address: str) -> str:
    """The canonical form of an address of that family. Raises CommandError saying what is wrong with it."""
    validate = {Family.TRON: tron_address.validate, Family.EVM: evm_address.validate}.get(Family(family))
    if validate is None:
        raise CommandError(f"addresses of {family} chains cannot be checked by this version")
    try:
        return validate(address)
    except InvalidAddress as error:
        raise CommandError(str(error), "compare it with where you copied it from") from None


def own_branch(settings: Settings, family: str) -> PublicBranch:
    """Our addresses on that family. Raises SettingsError without a mnemonic, CommandError with a bad one."""
    try:
        return PrivateBranch.from_mnemonic(settings.mnemonic().get_secret_value(), Family(family)).public
    except InvalidMnemonic as error:
        raise bad_mnemonic(error) from None


def bad_mnemonic(error: InvalidMnemonic) -> CommandError:
    """What is wrong with the mnemonic, without a word of it."""
    return CommandError(
        f"the mnemonic is not valid: {error}", "correct FLAGPOST_MNEMONIC, or the file FLAGPOST_MNEMONIC_FILE names"
    )


def _no_schema(error: Exception) -> CommandError:
    return CommandError(f"the schema is missing or old: {_first_line(error)}", "run: flagpost migrate")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
