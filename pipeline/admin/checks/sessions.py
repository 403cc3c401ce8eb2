"""Doctor's questions about sessions: does the database take writes, how are logins set, whose objects do they find."""

import psycopg

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Findings
from pipeline.admin.session import CONNECT_TIMEOUT_SECONDS, Connection
from pipeline.db.dsn import behind_pooler, database_dsn, listen_dsn, with_application
from pipeline.db.session import Session, ask_session
from pipeline.db.statements import statement
from pipeline.embedded.cluster import with_database
from pipeline.settings import Settings

CHECKS = (
    Check(
        "database.encoding",
        right="the database keeps text as UTF-8",
        cure="move it into one with ENCODING 'UTF8' TEMPLATE template0",
    ),
    Check(
        "database.read_only",
        right="the database takes writes",
        cure="the primary in DATABASE_URL, or RESET default_transaction_read_only",
    ),
    Check("sessions", right="session settings are those we need", cure="ALTER ROLE … RESET the setting"),
    Check(
        "shadows", right="no object of others can be called in place of ours", cure="drop it; REVOKE CREATE ON SCHEMA"
    ),
)
"""What the functions of this module ask."""


def check_writes(found: Findings, connection: Connection) -> bool:
    """Whether the database takes writes. Where it does not, nothing that is asked by writing can be asked."""
    row = connection.execute(statement("doctor/writes")).fetchone()
    assert row is not None  # noqa: S101 - one row, always
    if row["encoding"] != "UTF8":
        found.fail(
            "database.encoding",
            f"the database keeps text as {row['encoding']}: what a node says may have no form there",
            "move it into one made with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )
    if row["in_recovery"]:
        found.fail(
            "database.read_only",
            "the database takes no writes: it is a standby that follows another server",
            "let DATABASE_URL name the primary, or promote this one: SELECT pg_promote(); the processes wait for it",
        )
    elif row["read_only"]:
        found.fail(
            "database.read_only",
            "the database takes no writes: default_transaction_read_only is on",
            f"take it back: ALTER DATABASE {row['database']} RESET default_transaction_read_only (or of the role, or "
            "in postgresql.conf); the processes wait for it",
        )
    return not (row["in_recovery"] or row["read_only"])


def check_sessions(found: Findings, connection: Connection, settings: Settings) -> None:
    """How sessions would be without what they say themselves, and what stands in the way of what they need."""
    before = found.failed
    for row in connection.execute(statement("doctor/session_settings"), {}).fetchall():
        said = f"{row['name']} is {row['value']} for {row['who']}: nothing works by itself"
        found.fail("sessions", said, row["cure"])
    for dsn, pooler, variable in _ways(settings):
        try:
            with psycopg.connect(
                with_application(dsn, "doctor"), autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
            ) as plain:
                _check_login(found, ask_session(plain), pooler=pooler, variable=variable)
        except psycopg.OperationalError as error:
            found.fail("sessions", f"{variable}: no connection: {str(error).splitlines()[0]}", f"check {variable}")
    if found.failed == before:
        found.ok("sessions", "session settings are those we need")


def check_shadows(found: Findings, connection: Connection) -> None:
    """Objects of others that could be called in place of ours."""
    shadows = connection.execute(statement("doctor/shadows"), {}).fetchall()
    for row in shadows:
        found.fail(
            "shadows",
            f"{row['object']} of {row['owned_by']} could be called in place of ours",
            "find out who made it and why; drop it, or move it to a schema that is named like no role",
        )
    creators = [row["who"] for row in connection.execute(statement("doctor/may_create"), {}).fetchall()]
    if creators:
        found.fail(
            "shadows",
            f"{', '.join(creators)} may create objects beside ours, in the schema public",
            "; ".join(f"REVOKE CREATE ON SCHEMA public FROM {who}" for who in creators),
        )
    if not shadows and not creators:
        found.ok("shadows", "no object of others can be called in place of ours")


def _ways(settings: Settings) -> list[tuple[str, bool, str]]:
    """DSN, whether it goes through a pooler, and the variable that names it."""
    settings = with_database(settings)
    ways = [(database_dsn(settings), behind_pooler(settings), "DATABASE_URL")]
    if behind_pooler(settings):
        ways.append((listen_dsn(settings), False, "FLAGPOST_LISTEN_URL"))
    return ways


def _check_login(found: Findings, session: Session, *, pooler: bool, variable: str) -> None:
    settable = session.settable(pooler=pooler)
    for setting in session.unmet(pooler=pooler):
        value = session.values[setting.name] or "empty"
        said = f"{variable}: {setting.name} of {session.login} is {value}: {setting.why}"
        if setting in settable or setting.is_met_by(session.values[setting.name]):
            continue
        cure = session.cure(setting, creates=False)
        if setting.matters:
            found.fail("sessions", said, cure)
        else:
            found.warn("sessions", said, cure)
