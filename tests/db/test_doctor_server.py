"""What doctor finds about the server itself, on a server of its own; and that it answers whatever the answer is."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pipeline.admin.checks import check as checks
from pipeline.admin.checks import database as check_database
from pipeline.admin.checks import server as check_server
from pipeline.admin.checks.check import Check, Examiner, Topic
from pipeline.admin.checks.findings import Findings, Level
from pipeline.db.migrate import migrate
from pipeline.embedded.server import EmbeddedServer
from tests.conftest import TEST_SERVER, temporary_home
from tests.databases import fresh_database
from tests.db.cli_kit import MNEMONIC, Shell
from tests.db.doctor_kit import ASKED, examination, found, the_one

OWN_SERVER = TEST_SERVER | {
    "wal_level": "replica",
    "max_wal_senders": "2",
    "max_prepared_transactions": "2",
    "max_notify_queue_pages": "64",
    "autovacuum": "off",
}


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    with temporary_home() as home, EmbeddedServer(home, settings=OWN_SERVER) as server:
        yield server.dsn


@pytest.fixture(scope="module")
def own_template(own_server: str) -> Iterator[str]:
    with fresh_database(own_server, label="template") as dsn:
        asyncio.run(migrate(dsn))
        with psycopg.connect(dsn) as connection:
            name = connection.info.dbname
        yield name


@pytest.fixture
def dsn(own_server: str, own_template: str) -> Iterator[str]:
    with fresh_database(own_server, own_template) as copy:
        yield copy


@pytest.fixture
def own_shell(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], dsn: str, home: Path) -> Shell:
    """Commands on the own server."""
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("FLAGPOST_HOME", str(home))
    monkeypatch.setenv("FLAGPOST_MNEMONIC", MNEMONIC)
    return Shell(monkeypatch, capfd)


@pytest.fixture
def session(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def said(shell: Shell) -> dict[str, dict[str, str]]:
    """The findings of a whole run, by check; the last of each."""
    return {finding["check"]: finding for finding in shell("doctor", "--json").json["checks"]}


def on_database(session: psycopg.Connection, action: str) -> None:
    name = sql.Identifier(session.info.dbname)
    session.execute(sql.SQL("ALTER DATABASE {} ").format(name) + sql.SQL(action))  # type: ignore[arg-type]


def test_a_transaction_that_stays_open(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "OPEN_SECONDS", 0.0)
    assert found(dsn, "database.transactions") == []
    with psycopg.connect(dsn, application_name="somebody's report") as other:
        other.execute("SELECT pg_current_xact_id()")
        finding = the_one(dsn, "database.transactions")
        assert "somebody's report" in finding.message
        assert finding.todo == f"if it is not needed: SELECT pg_terminate_backend({other.info.backend_pid})"
        assert finding.ids == (str(other.info.backend_pid),)
    assert finding.level is Level.WARN


def test_a_prepared_transaction_that_was_left(
    dsn: str, session: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "OPEN_SECONDS", 0.0)
    session.execute("BEGIN; UPDATE chains SET is_active = is_active; PREPARE TRANSACTION 'left'")
    try:
        finding = the_one(dsn, "database.prepared")
    finally:
        session.execute("ROLLBACK PREPARED 'left'")
    assert finding.level is Level.FAIL
    assert "prepared transaction left of postgres has been left" in finding.message
    assert "ROLLBACK PREPARED 'left'" in finding.todo
    assert found(dsn, "database.prepared") == []


def test_a_slot_without_a_reader(dsn: str, session: psycopg.Connection) -> None:
    session.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        assert found(dsn, "database.slots") == []
        for _ in range(6):
            session.execute("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
        finding = the_one(dsn, "database.slots")
    finally:
        session.execute("SELECT pg_drop_replication_slot('forgotten')")
    assert finding.level is Level.WARN
    assert "replication slot forgotten has no reader and keeps" in finding.message
    assert "pg_drop_replication_slot('forgotten')" in finding.todo


def test_autovacuum_that_is_off(dsn: str, session: psycopg.Connection) -> None:
    session.execute("ALTER TABLE job_logs SET (autovacuum_enabled = false)")
    assert {finding.message for finding in found(dsn, "database.vacuum")} == {
        "autovacuum is off for the whole server",
        "autovacuum is off for job_logs",
    }


def test_more_dead_rows_than_live_ones(dsn: str, session: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DEAD_ROWS", 3)
    session.execute("INSERT INTO wallets (chain_id, address) SELECT min(id), 'T-one' FROM chains")
    for _ in range(5):
        session.execute("UPDATE wallets SET user_id = NULL")
    session.execute("SELECT pg_stat_force_next_flush()")
    assert "wallets has 5 dead rows and 1 live ones" in [one.message for one in found(dsn, "database.dead_rows")]


def test_a_limit_of_connections(dsn: str, session: psycopg.Connection) -> None:
    assert found(dsn, "database.connections") == []
    on_database(session, "CONNECTION LIMIT 2")
    finding = the_one(dsn, "database.connections")
    assert finding.level is Level.FAIL
    assert f"(CONNECTION LIMIT of database {session.info.dbname})" in finding.message


def test_a_server_that_forgets(dsn: str) -> None:
    levels = {finding.message.split(" ")[0]: finding.level for finding in found(dsn, "database.durability")}
    assert levels == {"fsync": Level.FAIL, "full_page_writes": Level.WARN}


@pytest.mark.parametrize(
    ("ahead", "level", "which"),
    [(3600, Level.FAIL, "behind"), (-3600, Level.FAIL, "ahead of"), (20, Level.WARN, "behind")],
)
def test_clocks_that_disagree(dsn: str, monkeypatch: pytest.MonkeyPatch, ahead: int, level: Level, which: str) -> None:
    assert found(dsn, "database.clock") == []

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=ahead)

    monkeypatch.setattr(check_server, "datetime", Shifted)
    finding = the_one(dsn, "database.clock")
    assert finding.level is level
    assert f"{which} that of this machine" in finding.message


def test_a_disk_that_is_full(dsn: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = type(shutil.disk_usage(home))(10**12, 10**12, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert found(dsn, "database.disk") == [], "another server's disk is not here"
    with examination(dsn) as shared:
        settings = shared.settings.model_copy(update={"database_url": None, "home": home})
        (trouble,) = ASKED["database.disk"].troubles(type(shared)(shared.connection, settings, shared.config))
    assert trouble.level is Level.FAIL
    assert trouble.message == f"95 MB are free under {home}"


def test_a_database_that_takes_no_writes(own_shell: Shell, session: psycopg.Connection) -> None:
    on_database(session, "SET default_transaction_read_only = on")
    try:
        answer = own_shell("doctor")
        finding = said(own_shell)["database.read_only"]
    finally:
        session.execute("SET default_transaction_read_only = off")
        on_database(session, "RESET default_transaction_read_only")
    assert answer.code == 1
    assert finding["level"] == "fail"
    assert "the database takes no writes: default_transaction_read_only is on" in finding["message"]
    assert "RESET default_transaction_read_only" in finding["todo"]


def test_a_notification_queue_that_fills(own_shell: Shell, dsn: str, session: psycopg.Connection) -> None:
    with psycopg.connect(dsn, autocommit=True) as listening:
        listening.execute("LISTEN anything")
        listening.execute("BEGIN")
        listening.execute("SELECT 1")
        for number in range(12):
            session.execute("SELECT pg_notify('anything', repeat('x', 7000) || %s)", [str(number)])
        finding = said(own_shell)["database.notifications"]
        assert finding["level"] == "warn"
        assert "the notification queue is" in finding["message"]


def test_a_schema_of_another_version(own_shell: Shell, session: psycopg.Connection) -> None:
    session.execute("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    older = said(own_shell)["schema"]
    assert (older["level"], older["todo"]) == ("fail", "run: flagpost migrate")
    session.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (900, '0900_later', 'x')")
    newer = said(own_shell)["schema"]
    assert (newer["level"], newer["todo"]) == ("fail", "upgrade Flagpost")


def test_a_listen_url_that_leads_nowhere(own_shell: Shell) -> None:
    own_shell.env.setattr(check_database, "listen_dsn", lambda _: "postgresql://nobody@127.0.0.1:1/nothing")
    finding = said(own_shell)["notify"]
    assert (finding["level"], finding["todo"]) == ("fail", "check FLAGPOST_LISTEN_URL")


def test_no_chain_is_active(own_shell: Shell, session: psycopg.Connection) -> None:
    session.execute("UPDATE chains SET is_active = false")
    assert said(own_shell)["chains"]["level"] == "warn"


def test_what_takes_too_long_is_said_and_the_rest_goes_on(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LIMIT_SECONDS", 1.0)

    known = checks.statement
    monkeypatch.setattr(
        checks, "statement", lambda name: "SELECT pg_sleep(60)" if name == "doctor/slow" else known(name)
    )
    findings = Findings()
    slow = Check("slow", right="it is quick", cure="wait", statement="slow", says="it is not")
    with examination(dsn) as shared:
        Examiner(shared, findings).ask(Topic("test", [slow, ASKED["queue.due"]]))
    first, second = findings.all
    assert first.level is Level.WARN
    assert first.message == "not known whether it is quick: canceling statement due to statement timeout"
    assert second.level is Level.OK


def test_a_login_that_may_only_look(own_shell: Shell, dsn: str, session: psycopg.Connection) -> None:
    """Each check is answered, or says that it may not be: none ends the others."""
    session.execute("DROP ROLE IF EXISTS looks_only")
    session.execute("CREATE ROLE looks_only LOGIN IN ROLE pipeline_readonly")
    try:
        session.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO looks_only").format(sql.Identifier(session.info.dbname))
        )
        asked = found(make_conninfo(dsn, user="looks_only"))
        assert [one.message for one in asked if one.message.startswith("not known whether")] == []
    finally:
        session.execute("DROP OWNED BY looks_only")
        session.execute("DROP ROLE looks_only")


def test_every_answer_has_ids_and_cures_in_json(own_shell: Shell) -> None:
    report = own_shell("doctor", "--json").json
    asked = {finding["check"] for finding in report["checks"]}
    assert ASKED.keys() <= asked
    assert all(finding["todo"] for finding in report["checks"] if finding["level"] in ("fail", "warn"))
    assert report["failed"] == sum(finding["level"] == "fail" for finding in report["checks"])


def test_text_is_short_where_all_is_well_and_long_if_wanted(own_shell: Shell) -> None:
    short, long = own_shell("doctor").out, own_shell("doctor", "-v").out
    assert "✓ queue: 11 checks passed" in short
    assert "✓ no job has been due for 5 minutes" not in short
    assert "✓ no job has been due for 5 minutes" in long
