"""Doctor's first questions: does the database answer and take writes, does a NOTIFY reach us, which processes run."""

import secrets
import time
from collections.abc import Collection

import psycopg

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Findings, Level
from pipeline.admin.session import CONNECT_TIMEOUT_SECONDS, Connection
from pipeline.db.dsn import listen_dsn
from pipeline.db.session import session_dsn
from pipeline.db.statements import statement
from pipeline.embedded.cluster import with_database
from pipeline.settings import Settings

OLDEST_VERSION = 15
SLOW_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0

CHECKS = (
    Check("database", right="the database answers", cure="check DATABASE_URL, and that the server runs"),
    Check("schema", right="the schema is of this version", cure="flagpost migrate, or the newer Flagpost"),
    Check("notify", right="a NOTIFY arrives", cure="set FLAGPOST_LISTEN_URL to a direct address of the server"),
    Check("config", right="the configuration is valid", cure="flagpost config set KEY VALUE", level=Level.WARN),
    Check("paused", right="the system is not paused", cure="flagpost config set paused false", level=Level.WARN),
    Check("processes", right="every process runs", cure="start it: each is a line of the Procfile"),
    Check("chains", right="a chain is active", cure="flagpost chains enable CHAIN", level=Level.WARN),
)
"""What the functions of this module and ``doctor`` itself ask."""


def check_server(found: Findings, connection: Connection) -> bool:
    """The version. False when there is no schema to go on with."""
    row = connection.execute(statement("doctor/server")).fetchone()
    if row is None:
        raise RuntimeError("doctor/server returned no row")
    version = row["version_number"] // 10_000
    where = f"Postgres {row['version'].split()[0]}, database {row['database']} as {row['user']}"
    if version < OLDEST_VERSION:
        found.fail("database", f"{where}: too old", f"use Postgres {OLDEST_VERSION} or newer")
        return False
    found.ok("database", where)
    if not row["has_schema"]:
        found.fail("schema", "the database has no schema yet", "run: flagpost migrate")
    return bool(row["has_schema"])


def check_notify(found: Findings, connection: Connection, settings: Settings) -> None:
    """A NOTIFY from one session reaches another one, over the DSN that the listeners use."""
    token = secrets.token_hex(8)
    try:
        with psycopg.connect(
            session_dsn(listen_dsn(with_database(settings)), "doctor"),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        ) as listening:
            listening.execute("LISTEN flagpost_doctor")
            started = time.perf_counter()
            connection.execute(statement("doctor/notify_itself"), {"token": token})
            heard = any(note.payload == token for note in listening.notifies(timeout=TIMEOUT_SECONDS, stop_after=1))
            took = time.perf_counter() - started
    except psycopg.errors.ProgramLimitExceeded:
        found.fail("notify", "the notification queue of the server is full", "see database.notifications")
        return
    except psycopg.OperationalError as error:
        found.fail("notify", f"no connection to LISTEN on: {str(error).splitlines()[0]}", "check FLAGPOST_LISTEN_URL")
        return
    except psycopg.DatabaseError as error:  # a standby knows neither LISTEN nor NOTIFY
        found.fail("notify", str(error).splitlines()[0], "LISTEN on the server that takes writes: FLAGPOST_LISTEN_URL")
        return
    todo = "behind a pooler in transaction mode set FLAGPOST_LISTEN_URL to a direct address of the server"
    if not heard:
        found.fail("notify", f"a NOTIFY did not arrive within {TIMEOUT_SECONDS:.0f} s", todo)
    elif took > SLOW_SECONDS:
        found.warn(
            "notify",
            f"a NOTIFY took {took * 1000:.0f} ms to arrive",
            "check the server's load and the network",
        )
    else:
        found.ok("notify", f"NOTIFY round trip {took * 1000:.1f} ms")


def check_processes(found: Findings, connection: Connection, expected: Collection[str], *, system_paused: bool) -> None:
    """Which processes are alive of those ``expected``. ``system_paused``: that they pause is no finding of its own."""
    alive: set[str] = set()
    for row in connection.execute(statement("doctor/processes")):
        alive |= {row["type"]} if row["alive"] else set()
        if row["silent"]:
            found.warn(
                "processes",
                f"{row['type']}: {row['silent']} without a heartbeat for over 60 s",
                "restart it if it should run; the sweep gives its work to others",
            )
        if row["paused"] and not system_paused:
            found.warn(
                "processes",
                f"{row['type']}: {row['paused']} paused by an operator",
                f"to go on: flagpost workers resume --type {row['type']}",
            )
        if row["in_error"]:
            found.warn("processes", f"{row['type']}: {row['last_error']}", "see its log")
    missing = sorted(set(expected) - alive)
    if not alive:
        found.note("processes", "no process runs: start them with `honcho start`, or all of it with `flagpost up`")
    elif missing:
        rows = connection.execute(statement("doctor/how_to_start"), {"types": missing}).fetchall()
        found.fail("processes", f"not running: {', '.join(missing)}", "; ".join(row["start"] for row in rows))
    else:
        found.ok("processes", f"running: {', '.join(sorted(alive))}")
