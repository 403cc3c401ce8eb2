"""Who may connect once a database was migrated: everybody who works there, and nobody because he has some login."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pipeline.db.migrate import migrate
from tests.db.cli_kit import Shell
from tests.db.logins import login, login_name


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def may_connect(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError as error:
        if "does not have CONNECT privilege" not in str(error):
            raise
        return False
    return True


def execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement.encode())


async def test_who_works_there_keeps_it_and_nobody_else(empty_database: str, stack: ExitStack) -> None:
    """As a database shared with an application is found: logins that own, that were granted, that are members of who
    was, with INHERIT and without, that watch, that are connected; and one that has nothing to do with it."""
    made = {
        label: stack.enter_context(login(empty_database, label, options))
        for label, options in {
            "outsider": "",
            "owner": "",
            "granted": "",
            "group": "NOLOGIN",
            "by_default": "",
            "watcher": "IN ROLE pg_monitor",
            "connected": "",
            "replication": "REPLICATION",
        }.items()
    }
    made["member"] = stack.enter_context(login(empty_database, "member", f"IN ROLE {login_name('group')}"))
    made["authenticator"] = stack.enter_context(
        login(empty_database, "authenticator", f"NOINHERIT IN ROLE {login_name('group')}")
    )
    execute(
        empty_database,
        f"CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO {login_name('owner')}",
        f"CREATE TABLE shared (); GRANT SELECT ON shared TO {login_name('granted')}, {login_name('group')}",
        f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {login_name('by_default')}",
    )
    with psycopg.connect(made["connected"]):
        done = await migrate(empty_database)
    may = {label: may_connect(dsn) for label, dsn in made.items() if label != "group"}
    assert may == dict.fromkeys(may, True) | {"outsider": False}
    assert done.connect is not None
    assert done.connect.restricted
    assert {login_name(label) for label in may if label != "outsider"} <= set(done.connect.kept_by)
    assert login_name("outsider") not in done.connect.kept_by
    with psycopg.connect(made["granted"], autocommit=True) as application:
        application.execute("CREATE TEMPORARY TABLE scratch ()")

    again = await migrate(empty_database)
    assert again.connect is not None
    assert (again.connect.restricted, again.connect.kept_by) == (False, ())


async def test_logins_of_our_roles_come_in(empty_database: str, stack: ExitStack, template: str) -> None:
    """Those that there are, also without INHERIT, and those that are made later, as docs/operating.md has them."""
    before = stack.enter_context(login(empty_database, "before", "NOINHERIT IN ROLE pipeline_sync"))
    await migrate(empty_database)
    later = stack.enter_context(login(empty_database, "later", "IN ROLE pipeline_executor"))
    looks = stack.enter_context(login(empty_database, "looks", "IN ROLE pipeline_readonly"))
    assert [may_connect(dsn) for dsn in (before, later, looks)] == [True] * 3


async def test_one_that_was_locked_out_is_let_in_by_hand_for_good(empty_database: str, stack: ExitStack) -> None:
    forgotten = stack.enter_context(login(empty_database, "forgotten"))
    await migrate(empty_database)
    assert not may_connect(forgotten)
    name = conninfo_to_dict(empty_database)["dbname"]
    grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute(grant.format(sql.Identifier(str(name)), sql.Identifier(login_name("forgotten"))))
    await migrate(empty_database)
    assert may_connect(forgotten)


def test_migrate_says_what_it_did(shell: Shell, empty_database: str) -> None:
    shell.env.setenv("DATABASE_URL", empty_database)
    name = conninfo_to_dict(empty_database)["dbname"]
    first, second = shell("migrate").out, shell("migrate").out
    assert f"CONNECT and TEMPORARY on {name} were taken from PUBLIC" in first
    assert f'GRANT CONNECT ON DATABASE "{name}" TO …' in first
    assert "CONNECT" not in second


def test_doctor_says_where_everybody_may(shell: Shell) -> None:
    """A copy of a template, or a restored backup, has the default again."""
    (found,) = [check for check in shell("doctor", "--json").json["checks"] if check["check"] == "database.connect"]
    assert (found["level"], "flagpost migrate" in found["todo"]) == ("warn", True)
    shell("migrate")
    assert "database.connect" not in [check["check"] for check in shell("doctor", "--json").json["checks"]]
