"""A session on the database for a person's action, whatever stands between: a pooler, a standby, an old schema.
What the database refuses is raised in words."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from pipeline.admin.errors import ActionError, DatabaseUnavailable, NotPermitted
from pipeline.admin.refusals import in_words
from pipeline.db.dsn import behind_pooler, database_dsn, without_password
from pipeline.db.errors import WrongSession
from pipeline.db.session import pooler_dsn, session_dsn, settle, settle_now
from pipeline.db.values import adapters
from pipeline.embedded.cluster import with_database
from pipeline.embedded.ready import wait_until_ready
from pipeline.settings import Settings

CONNECT_TIMEOUT_SECONDS = 10

_NO_SCHEMA = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn)

Row = Mapping[str, Any]
Connection = psycopg.Connection[dict[str, Any]]


@contextmanager
def database(settings: Settings, name: str) -> Iterator[Connection]:
    """A connection in one transaction, committed at the end of the block.

    Raises ActionError when the server is not there, refuses us, gives no session that can be used, or has no schema.
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
    ActionError if nobody serves that."""
    if settings.database_url is None and not wait_until_ready(settings.home):
        raise not_running(settings)
    return database_dsn(with_database(settings))


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
        with ExitStack() as undo:
            undo.callback(connection.close)
            settle_now(connection, name, pooler=way.pooler)
            connection.autocommit = False
            undo.pop_all()
        return connection
    raise AssertionError("the last way returns or raises")


async def _connect_async(settings: Settings, dsn: str, name: str) -> AsyncConnection[TupleRow]:
    for way in _ways(settings, dsn, name):
        try:
            connection = await AsyncConnection.connect(way.dsn, **_CONNECTING)
        except psycopg.OperationalError as error:
            way.give_up(error)
            continue
        async with AsyncExitStack() as undo:
            undo.push_async_callback(connection.close)
            await settle(connection, name, pooler=way.pooler)
            undo.pop_all()
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
    """What the database refuses, as a ActionError that says what to do."""
    try:
        yield
    except _Unreachable as error:
        raise unreachable(settings, dsn, error) from None
    except WrongSession as error:
        raise DatabaseUnavailable(str(error)) from None
    except _NO_SCHEMA as error:
        raise _no_schema(error) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise NotPermitted(_first_line(error), "use a DATABASE_URL whose user may do this") from None
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise read_only(error) from None
    except psycopg.Error as error:
        raise in_words(error) or error from None


def read_only(error: Exception) -> ActionError:
    """The server takes no writes."""
    return DatabaseUnavailable(
        f"the database takes no writes: {_first_line(error)}",
        "let DATABASE_URL name the primary, or take default_transaction_read_only back; flagpost doctor says which",
    )


def unreachable(settings: Settings, dsn: str, error: Exception) -> ActionError:
    """The server does not answer: where we looked, and what to do."""
    if settings.database_url is None:
        return not_running(settings)
    return DatabaseUnavailable(
        f"the database does not answer ({without_password(dsn)}): {_first_line(error)}",
        "check DATABASE_URL, that the server runs, and that this machine may connect",
    )


def not_running(settings: Settings) -> ActionError:
    """Nobody serves the embedded database."""
    return DatabaseUnavailable(
        f"the embedded database under {settings.home} is not running",
        "start it with `flagpost up` (everything) or `flagpost db start`, or set DATABASE_URL to your own server",
    )


def _no_schema(error: Exception) -> ActionError:
    return DatabaseUnavailable(f"the schema is missing or old: {_first_line(error)}", "run: flagpost migrate")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
