"""What a session of ours depends on: pinned as it begins, and checked before it is used.

An administrator may give a role or a database other settings than Postgres's own (``ALTER ROLE … SET``), under which
our statements would mean something else, or an attacker's function would be called in place of ours. So every session
says in its start-up message how it wants to be, which goes before the settings of role and database, and before
PGDATESTYLE and the like once it is checked (``settle``). A pooler in transaction mode passes no start-up settings on:
there the login must have them, and what it lacks is named with the statement that sets it.

Not pinned, because they are the administrator's to decide: default_transaction_read_only (a database that is closed for
writing is waited for), synchronous_commit (what must not be lost says so itself), memory, costs and parallelism of
plans, tablespaces, what is logged.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import AsyncRowFactory, tuple_row

from pipeline.db.dsn import with_application
from pipeline.db.errors import WrongRole, WrongSession
from pipeline.db.statements import statement
from pipeline.db.values import adapters

Row = TypeVar("Row")

STATEMENT_TIMEOUT = 30.0
"""Seconds. Everything a worker asks is bounded in rows; a statement that takes longer is a fault."""
IDLE_IN_TRANSACTION_TIMEOUT = 30.0
"""Seconds. An open transaction holds back vacuum, which slows the queue down: no network call happens in one."""
CONNECT_TIMEOUT = 5
"""Seconds for one attempt."""

_SHORTEST_TIMEOUT = 1000
"""Milliseconds. A login behind a pooler may be bounded more tightly than we would; below this nothing gets done."""


def _never_or_long(value: str) -> bool:
    return int(value) == 0 or int(value) >= _SHORTEST_TIMEOUT


def _ours_alone(value: str) -> bool:
    """Whether a search_path finds nothing before pg_catalog and public, temporary tables included."""
    path = [part.strip().strip('"') for part in value.split(",")]
    return path[-2:] == ["public", "pg_temp"] and path[:-2] in ([], ["pg_catalog"])


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that our statements depend on."""

    name: str
    """As pg_settings spells it."""
    value: str
    """What our own sessions have, as pg_settings shows it."""
    why: str
    """What would happen otherwise."""
    accepts: Callable[[str], bool] | None = None
    """Whether another value of a login behind a pooler does as well; None: no other."""
    matters: bool = True
    """False: it costs time only; a session without it is used, and ``doctor`` says so."""
    startable: bool = True
    """Whether it can be said in the start-up message to every server that we know: not what newer ones alone have, nor
    what only a superuser may set."""

    @property
    def is_own_timeout(self) -> bool:
        """Whether each of our sessions says for itself how long it is."""
        return self.startable and self.name.endswith("_timeout")

    def is_met_by(self, value: str) -> bool:
        return value == self.value or (self.accepts is not None and self.accepts(value))


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "search_path",
        "pg_catalog,public,pg_temp",
        "a schema named like the role, or a temporary table, would be searched before ours",
        _ours_alone,
    ),
    Setting("client_encoding", "UTF8", "text for which another encoding has no character ends the statement"),
    Setting("DateStyle", "ISO, MDY", "the driver reads times in ISO form only", lambda value: value.startswith("ISO")),
    Setting("IntervalStyle", "postgres", "the driver reads intervals in this form only"),
    Setting("TimeZone", "UTC", "times in messages would be in the server's zone", lambda value: True),
    Setting("standard_conforming_strings", "on", "a backslash in a string would be an escape"),
    Setting("array_nulls", "on", "NULL in an array would be the word NULL: an error where there was none"),
    Setting("transform_null_equals", "off", "= NULL would mean IS NULL"),
    Setting("bytea_output", "hex", "signed bytes come in this form", lambda value: True),
    Setting("extra_float_digits", "1", "seconds would be rounded", lambda value: int(value) >= 1),
    Setting("quote_all_identifiers", "off", "definitions would not be those that doctor compares", matters=False),
    Setting("default_transaction_isolation", "read committed", "what others commit meanwhile would be an error"),
    Setting("default_transaction_deferrable", "off", "transactions could wait for all others", lambda value: True),
    Setting("row_security", "on", "statements on tables with policies would be refused"),
    Setting("exit_on_error", "off", "a refused statement would end the session"),
    Setting("statement_timeout", "30000", "nothing would end a statement that hangs", _never_or_long),
    Setting("lock_timeout", "0", "what only has to wait would be refused; statement_timeout bounds it", _never_or_long),
    Setting("idle_in_transaction_session_timeout", "30000", "an open transaction holds back vacuum", _never_or_long),
    Setting("idle_session_timeout", "0", "sessions that wait for work would be ended", _never_or_long),
    Setting("transaction_timeout", "0", "longer work would end the session", _never_or_long, startable=False),
    Setting("post_auth_delay", "0", "nobody would connect in time", matters=False),
    Setting("restrict_nonsystem_relation_kind", "", "our views could not be read", startable=False),
    Setting(
        "session_replication_role",
        "origin",
        "no trigger fires, so that nothing is flagged, checked or told",
        lambda value: value == "local",
        startable=False,
    ),
    # Debian's Postgres 15 compiled the claim anew each time: 470 ms for 1. Before 18 one scan of ten rows is reason
    # enough, where enable_seqscan=off could not avoid it.
    Setting("jit", "off", "small statements would be compiled each time", matters=False),
    Setting("geqo", "off", "joins would be planned by chance", matters=False),
    Setting("plan_cache_mode", "auto", "statements would be planned each time, or for no values at all", matters=False),
    *(
        Setting(f"enable_{way}", "on", "plans would scan whole tables", matters=False)
        for way in ("indexscan", "indexonlyscan", "bitmapscan", "nestloop", "hashjoin", "hashagg", "sort")
    ),
)
"""Everything that our statements, and the functions and triggers they call, take for granted."""

OF_THE_CONNECTION = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""How long the server waits for a host that is cut off: 25 s. In the middle of a pipeline its transaction is neither
idle nor a statement, so that no timeout ends it before Postgres 17, and what it holds stays locked for as long as the
operating system believes in the connection: two hours. Over a Unix socket they mean nothing."""


def session_dsn(
    dsn: str,
    name: str,
    role: str | None = None,
    statement_timeout: float | None = STATEMENT_TIMEOUT,
    index_plans: bool = False,
) -> str:
    """``dsn`` with role and ``SETTINGS`` as settings of the session itself.

    In the start-up message rather than by SET: no round trip, and RESET ALL comes back to them. ``statement_timeout``
    in seconds; None: a statement may take as long as it does, for a person's command. A process with a role writes, so
    that a server which takes no writes is no server for it (``target_session_attrs``), unless the DSN says otherwise;
    where it names several hosts, the one that does is looked for.
    """
    parts = conninfo_to_dict(dsn)
    pinned = {setting.name: setting.value for setting in SETTINGS if setting.startable} | OF_THE_CONNECTION
    pinned["statement_timeout"] = str(round((statement_timeout or 0) * 1000))
    if index_plans:
        pinned["enable_seqscan"] = "off"
    if role is not None:
        pinned["role"] = role
    options = [str(parts.get("options") or ""), *(f"-c {key}={_escaped(value)}" for key, value in pinned.items())]
    changes: dict[str, Any] = {"options": " ".join(options).strip(), "client_encoding": "UTF8"}
    if role is not None or "," in f"{parts.get('host', '')}{parts.get('hostaddr', '')}":
        changes["target_session_attrs"] = parts.get("target_session_attrs") or "read-write"
    return make_conninfo(with_application(dsn, name), **changes)


def pooler_dsn(dsn: str, name: str) -> str:
    """``dsn`` as it can be used through a pooler in transaction mode, which takes no start-up settings but these."""
    return make_conninfo(with_application(dsn, name), client_encoding="UTF8")


def settings_of_transaction() -> dict[str, list[str]]:
    """``names`` and ``values`` of ``SETTINGS`` that a transaction can have for itself, through a pooler as well. Not
    the search path, which depends on what is done, nor how long it may take."""
    chosen = [
        setting
        for setting in SETTINGS
        if setting.name not in ("search_path", "post_auth_delay", "session_replication_role")
        and not setting.is_own_timeout
    ]
    return {"names": [one.name for one in chosen], "values": [one.value for one in chosen]}


async def settle(connection: AsyncConnection[Any], name: str, role: str | None = None, *, pooler: bool = False) -> None:
    """Check a new session, which is in autocommit, and set what its start-up message did not. ``name`` is the
    process's. Raises WrongRole, or WrongSession for what is not as it must be and cannot be set; psycopg.Error."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        if not pooler:
            await cursor.execute(statement("session/differs"), _OWN)
            if await cursor.fetchone() == (role or connection.info.user, False):
                return
        await cursor.execute(statement("session/settings"), _NAMES)
        session = Session.of(await cursor.fetchall())
        pooler = pooler or session.is_shared(connection.info.backend_pid)
        for setting in session.settable(pooler=pooler):
            await cursor.execute(statement("session/set"), {"name": setting.name, "value": setting.value})
    session.check(name, role, pooler=pooler)


def settle_now(connection: psycopg.Connection[Any], name: str, *, pooler: bool = False) -> None:
    """``settle`` for a person's command."""
    session = ask_session(connection)
    pooler = pooler or session.is_shared(connection.info.backend_pid)
    for setting in session.settable(pooler=pooler):
        connection.execute(statement("session/set"), {"name": setting.name, "value": setting.value})
    session.check(name, None, pooler=pooler)


def ask_session(connection: psycopg.Connection[Any]) -> "Session":
    """How a session is set."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(statement("session/settings"), _NAMES)
        return Session.of(cursor.fetchall())


async def open_session(dsn: str, name: str, row_factory: AsyncRowFactory[Row]) -> AsyncConnection[Row]:
    """A session of ours by itself, in autocommit; the caller closes it. ``dsn`` is a direct one. Raises WrongSession,
    psycopg.Error."""
    connection: AsyncConnection[Row] = await AsyncConnection.connect(
        session_dsn(dsn, name, statement_timeout=None),
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT,
        context=adapters(),
        row_factory=row_factory,
    )
    async with AsyncExitStack() as undo:
        undo.push_async_callback(connection.close)
        await settle(connection, name)
        undo.pop_all()
    return connection


@dataclass(slots=True)
class Session:
    """What a session says of itself."""

    role: str
    """Whom it acts as."""
    login: str
    database: str
    pid: str
    """Of the server's process."""
    values: dict[str, str]
    """Settings in the units of pg_settings; a server that is older than a setting has it not."""
    can_set: frozenset[str]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str, bool]]) -> Self:
        """From session/settings."""
        values = {name: value for name, value, _ in rows}
        can_set = frozenset(name for name, _, settable in rows if settable)
        role, login, database, pid = (values.pop(name) for name in ("role", "login", "database", "pid"))
        return cls(role, login, database, pid, values, can_set)

    def is_shared(self, pid: int) -> bool:
        """Whether a pooler gives each transaction another session, though nobody said that there is one: ``pid`` is
        what the connection was told of its process, and a pooler makes that up."""
        return self.pid != str(pid)

    def unmet(self, *, pooler: bool) -> list[Setting]:
        """Settings that are not as they must be; behind a pooler, those for which a login's own will not do. How long
        our own sessions may take is said by each of them."""
        known = [setting for setting in SETTINGS if setting.name in self.values]
        if pooler:
            return [one for one in known if not one.is_met_by(self.values[one.name])]
        return [one for one in known if one.value != self.values[one.name] and not one.is_own_timeout]

    def settable(self, *, pooler: bool) -> list[Setting]:
        """Those of them that the session can set itself. Behind a pooler it belongs to others a moment later."""
        return [] if pooler else [one for one in self.unmet(pooler=False) if one.name in self.can_set]

    def check(self, name: str, role: str | None, *, pooler: bool) -> None:
        """Raises WrongRole, WrongSession."""
        if role is not None and self.role != role:
            raise WrongRole(
                f"The connection of {name} acts as {self.role}, it has to act as {role}. Behind a pooler give the "
                f"process a login of its own in DATABASE_URL: "
                f"CREATE ROLE {name} LOGIN IN ROLE {role}; ALTER ROLE {name} SET role = {role}"
            )
        settable = self.settable(pooler=pooler)
        wrong = [
            one
            for one in self.unmet(pooler=pooler)
            if one.matters and one not in settable and not one.is_met_by(self.values[one.name])
        ]
        if wrong:
            raise WrongSession(
                f"The sessions of {name} cannot be used: "
                + "; ".join(f"{one.name} is {self.values[one.name] or 'empty'}: {one.why}" for one in wrong)
                + f". Set right: {'; '.join(self.cure(one, creates=role is None) for one in wrong)}"
                + ("; then let the pooler connect anew (PgBouncer: RECONNECT)" if pooler else "")
            )

    def cure(self, setting: Setting, *, creates: bool) -> str:
        """The statement that goes before all other settings of role and database. ``creates``: whether the login is a
        person's, who may create tables, too: where pg_catalog is named first, that fails."""
        value = f"'{setting.value}'"
        if setting.name == "search_path":
            value = "public, pg_temp" if creates else "pg_catalog, public, pg_temp"
        return f"ALTER ROLE {_quoted(self.login)} IN DATABASE {_quoted(self.database)} SET {setting.name} = {value}"


_NAMES = {"names": [setting.name for setting in SETTINGS]}
_OWN = {
    "names": [setting.name for setting in SETTINGS if not setting.is_own_timeout],
    "values": [setting.value for setting in SETTINGS if not setting.is_own_timeout],
}
"""What every session of ours has alike."""


def _escaped(value: str) -> str:
    """``value`` as one word of the start-up options."""
    return re.sub(r"([\\\s])", r"\\\1", value)


def _quoted(name: str) -> str:
    """A name as SQL takes it."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
