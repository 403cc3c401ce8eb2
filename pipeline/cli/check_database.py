"""Doctor's questions to the database: does it answer, is it ours, do its triggers fire, does a bell reach us."""

import re
import secrets
import time
from datetime import timedelta

import psycopg

from pipeline.cli.checks import Check
from pipeline.cli.findings import Findings, Level
from pipeline.cli.output import age, span
from pipeline.cli.session import CONNECT_TIMEOUT_SECONDS, Connection
from pipeline.db.dsn import listen_dsn, with_application
from pipeline.db.sources import triggers_directory
from pipeline.db.statements import statement, without_comments
from pipeline.settings import Settings

OLDEST_VERSION = 15
SLOW_BELL_SECONDS = 1.0
BELL_TIMEOUT_SECONDS = 5.0
QUEUE_USAGE_WARNING = 0.1
"""Share of the 8 GB notification queue; at 1 every commit that rings fails."""
UNSERVED = {"withdrawal", "deposit-detection"}
"""Job types that the table knows and no line of the Procfile runs yet."""
OLD_TRANSACTION = timedelta(minutes=1)
"""An open snapshot this old already makes the queue table several times slower."""

CHECKS = (
    Check("database", right="the database answers", cure="check DATABASE_URL, and that the server runs"),
    Check(
        "database.notifications",
        right="the notification queue is empty",
        cure="end the session that LISTENs inside a transaction (pg_stat_activity)",
        level=Level.WARN,
    ),
    Check(
        "database.transactions",
        right="no transaction stays open",
        cure="end it: SELECT pg_terminate_backend(PID)",
        level=Level.WARN,
    ),
    Check("schema", right="the schema is of this version", cure="flagpost migrate, or the newer Flagpost"),
    Check(
        "triggers", right="every trigger is there and fires", cure="flagpost migrate; ALTER TABLE … ENABLE TRIGGER …"
    ),
    Check("notify", right="a NOTIFY arrives", cure="set FLAGPOST_LISTEN_URL to a direct address of the server"),
    Check("config", right="the configuration is valid", cure="flagpost config set KEY VALUE", level=Level.WARN),
    Check("paused", right="the system is not paused", cure="flagpost config set paused false", level=Level.WARN),
    Check("processes", right="every process runs", cure="start it: each is a line of the Procfile", level=Level.WARN),
    Check("queue", right="no job has failed", cure="flagpost jobs list --status failed", level=Level.WARN),
    Check("chains", right="a chain is active", cure="flagpost chains enable CHAIN", level=Level.WARN),
)
"""What the functions of this module and ``doctor`` itself ask."""

_CREATE_TRIGGER = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:CONSTRAINT\s+)?TRIGGER\s+(\w+).*?\bON\s+(?:public\.)?(\w+)",
    re.IGNORECASE | re.DOTALL,
)


def check_server(found: Findings, connection: Connection) -> bool:
    """Version, notification queue, old transactions. False when there is no schema to go on with."""
    row = connection.execute(statement("doctor/server")).fetchone()
    if row is None:
        raise RuntimeError("doctor/server returned no row")
    version = row["version_number"] // 10_000
    where = f"Postgres {row['version'].split()[0]}, database {row['database']} as {row['user']}"
    if version < OLDEST_VERSION:
        found.fail("database", f"{where}: too old", f"use Postgres {OLDEST_VERSION} or newer")
        return False
    found.ok("database", where)
    if row["notification_queue"] > QUEUE_USAGE_WARNING:
        found.warn(
            "database.notifications",
            f"the notification queue is {row['notification_queue']:.0%} full",
            "find the session that LISTENs inside a transaction (pg_stat_activity) and end it",
        )
    oldest = row["oldest_transaction"]
    if oldest is not None and oldest > OLD_TRANSACTION:
        found.warn(
            "database.transactions",
            f"a transaction has been open for {span(oldest)}: it slows down the queue",
            'see: flagpost db psql -c "SELECT pid, query FROM pg_stat_activity ORDER BY xact_start"',
        )
    if not row["has_schema"]:
        found.fail("schema", "the database has no schema yet", "run: flagpost migrate")
    return bool(row["has_schema"])


def expected_triggers() -> set[tuple[str, str]]:
    """(trigger, table) of every CREATE TRIGGER under triggers/."""
    found: set[tuple[str, str]] = set()
    for path in sorted(triggers_directory().glob("*.sql")):
        text = without_comments(path.read_text(encoding="utf-8"))
        found |= {(name.lower(), table.lower()) for name, table in _CREATE_TRIGGER.findall(text)}
    return found


def check_triggers(found: Findings, connection: Connection) -> None:
    """Every trigger of the project is there and enabled."""
    rows = connection.execute(statement("doctor/triggers")).fetchall()
    installed = {(row["trigger"], row["relation"]) for row in rows}
    disabled = sorted(row["trigger"] for row in rows if not row["enabled"])
    expected = expected_triggers()
    missing = sorted(name for name, table in expected - installed)
    if missing:
        found.fail("triggers", f"triggers missing: {', '.join(missing)}", "run: flagpost migrate")
    if disabled:
        found.fail(
            "triggers",
            f"triggers disabled: {', '.join(disabled)}",
            "enable them: ALTER TABLE … ENABLE TRIGGER …; nothing happens by itself until then",
        )
    if not missing and not disabled:
        found.ok("triggers", f"{len(expected)} triggers installed and enabled")


def check_bell(found: Findings, connection: Connection, settings: Settings) -> None:
    """A NOTIFY from one session reaches another one, over the DSN that the listeners use."""
    token = secrets.token_hex(8)
    try:
        with psycopg.connect(
            with_application(listen_dsn(settings), "doctor"), autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
        ) as listening:
            listening.execute("LISTEN flagpost_doctor")
            started = time.perf_counter()
            connection.execute(statement("doctor/ring"), {"token": token})
            heard = any(
                note.payload == token for note in listening.notifies(timeout=BELL_TIMEOUT_SECONDS, stop_after=1)
            )
            took = time.perf_counter() - started
    except psycopg.OperationalError as error:
        found.fail("notify", f"no connection to LISTEN on: {str(error).splitlines()[0]}", "check FLAGPOST_LISTEN_URL")
        return
    todo = "behind a pooler in transaction mode set FLAGPOST_LISTEN_URL to a direct address of the server"
    if not heard:
        found.fail("notify", f"a NOTIFY did not arrive within {BELL_TIMEOUT_SECONDS:.0f} s", todo)
    elif took > SLOW_BELL_SECONDS:
        found.warn("notify", f"a NOTIFY took {took * 1000:.0f} ms to arrive", "look for load or a slow network")
    else:
        found.ok("notify", f"NOTIFY round trip {took * 1000:.1f} ms")


def check_processes(found: Findings, connection: Connection, expected: set[str], *, system_paused: bool) -> None:
    """Which processes are alive. ``system_paused``: that they pause is no finding of its own."""
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
                "when you are done: set its status to 'running' in worker_registry",
            )
        if row["in_error"]:
            found.warn("processes", f"{row['type']}: {row['last_error']}", "see its log")
    missing = sorted(expected - alive)
    if not alive:
        found.note("processes", "no process runs: start them with `honcho start`, or all of it with `flagpost up`")
    elif missing:
        found.warn("processes", f"not running: {', '.join(missing)}", "start it, each is a line of the Procfile")
    else:
        found.ok("processes", f"running: {', '.join(sorted(alive))}")


def check_queue(found: Findings, connection: Connection) -> None:
    """What waits, and why."""
    for row in connection.execute(statement("doctor/queue")):
        waits = f"{row['job_type']}: {row['due']} due, {row['later']} later, {row['active']} active"
        if row["failed"]:
            found.warn(
                "queue",
                f"{waits}, {row['failed']} failed within a day; the newest says: {row['newest_error']}",
                f"see: flagpost jobs list --status failed --type {row['job_type']}",
            )
        elif row["job_type"] in UNSERVED:
            found.warn(
                "queue", f"{waits}; no process of this version runs such jobs", "cancel: flagpost jobs cancel JOB"
            )
        elif row["newest_error"]:
            found.note("queue", f"{waits} (oldest due since {age(row['oldest_due'])}): {row['newest_error']}")
        else:
            found.ok("queue", waits)
