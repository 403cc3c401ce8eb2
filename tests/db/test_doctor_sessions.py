"""What doctor says of sessions: each fault is made, and found with its cure."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pipeline.admin.checks.findings import Finding, Findings, Level
from pipeline.admin.checks.sessions import check_sessions, check_shadows, check_writes
from pipeline.admin.session import database as cli_database
from pipeline.settings import Settings

Ask = Callable[..., list[Finding]]


@pytest.fixture
def owner(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def app(owner: psycopg.Connection) -> Iterator[str]:
    """Another role on the same server, with a schema of its own name."""
    name = f"app_{owner.info.backend_pid}"
    owner.execute(sql.SQL("CREATE ROLE {0} LOGIN; CREATE SCHEMA AUTHORIZATION {0}").format(sql.Identifier(name)))
    yield name
    owner.execute(sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(sql.Identifier(name)))


@pytest.fixture
def ask(database: str) -> Ask:
    """The findings of one question, as a person of this environment gets them."""

    def run(check: Callable[..., object], **more: str) -> list[Finding]:
        settings, found = Settings(database_url=database, **more), Findings()
        with cli_database(settings, "doctor") as connection:
            check(found, connection) if check is not check_sessions else check(found, connection, settings)
        return found.all

    return run


def test_all_is_well(ask: Ask) -> None:
    assert [(one.check, one.level) for one in ask(check_sessions)] == [("sessions", Level.OK)]
    assert [(one.check, one.level) for one in ask(check_shadows)] == [("shadows", Level.OK)]
    assert ask(check_writes) == []


def test_a_database_that_is_closed_for_writing(owner: psycopg.Connection, ask: Ask) -> None:
    name = owner.info.dbname
    owner.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')  # type: ignore[arg-type]
    (found,) = ask(check_writes)
    assert (found.check, found.level) == ("database.read_only", Level.FAIL)
    assert f"ALTER DATABASE {name} RESET default_transaction_read_only" in found.todo
    (found,) = [one for one in ask(check_sessions) if one.level is Level.FAIL]
    assert found.message.startswith(f"default_transaction_read_only is on for everybody in database {name}")
    owner.execute(found.todo)  # type: ignore[arg-type]
    assert ask(check_writes) == []


def test_a_database_in_another_encoding(server_dsn: str) -> None:
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        name = f"latin_{admin.info.backend_pid}"
        admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")  # type: ignore[arg-type]
        try:
            found = Findings()
            with cli_database(Settings(database_url=make_conninfo(server_dsn, dbname=name)), "doctor") as connection:
                assert check_writes(found, connection)
            assert [(one.check, one.level) for one in found.all] == [("database.encoding", Level.FAIL)]
        finally:
            admin.execute(f"DROP DATABASE {name}")  # type: ignore[arg-type]


def test_a_login_of_ours_without_triggers(owner: psycopg.Connection, ask: Ask, app: str) -> None:
    owner.execute(f"GRANT pipeline_sync TO {app}; ALTER ROLE {app} SET session_replication_role = replica")  # type: ignore[arg-type]
    (found,) = ask(check_sessions)
    assert (found.check, found.level) == ("sessions", Level.FAIL)
    assert found.message.startswith(f"session_replication_role is replica for role {app}")
    owner.execute(found.todo)  # type: ignore[arg-type]
    assert ask(check_sessions)[0].level is Level.OK


def test_a_login_of_others_may_be_as_it_likes(owner: psycopg.Connection, ask: Ask, app: str) -> None:
    owner.execute(f"ALTER ROLE {app} SET session_replication_role = replica")  # type: ignore[arg-type]
    assert ask(check_sessions)[0].level is Level.OK


def test_what_a_login_behind_a_pooler_lacks(owner: psycopg.Connection, database: str) -> None:
    """Found without a session that could be used: it is the very session which is wrong."""
    settings, found = Settings(database_url=database, listen_url=f"{database} connect_timeout=7"), Findings()
    with psycopg.connect(database, row_factory=psycopg.rows.dict_row) as connection:
        check_sessions(found, connection, settings)
    levels = {one.message.split(":")[1].split()[0]: one.level for one in found.all}
    assert levels["search_path"] is Level.FAIL
    failed = [one for one in found.all if one.level is Level.FAIL]
    for one in failed:
        owner.execute(one.todo)  # type: ignore[arg-type]
    found = Findings()
    with psycopg.connect(database, row_factory=psycopg.rows.dict_row) as connection:
        check_sessions(found, connection, settings)
    assert not found.failed
    owner.execute(f'ALTER ROLE CURRENT_USER IN DATABASE "{owner.info.dbname}" RESET ALL')  # type: ignore[arg-type]


def test_a_listen_url_that_leads_nowhere(database: str, home) -> None:
    settings = Settings(database_url=database, listen_url=f"postgresql://u@/d?host={home}")
    found = Findings()
    with psycopg.connect(database, row_factory=psycopg.rows.dict_row) as connection:
        check_sessions(found, connection, settings)
    assert any(one.message.startswith("FLAGPOST_LISTEN_URL: no connection") for one in found.all)


@pytest.mark.parametrize(
    ("made", "object_named"),
    [
        (
            "CREATE SCHEMA pipeline_sync; CREATE FUNCTION pipeline_sync.worker_heartbeat() RETURNS int LANGUAGE sql"
            " AS 'SELECT 1'; ALTER FUNCTION pipeline_sync.worker_heartbeat() OWNER TO {app}",
            "pipeline_sync.worker_heartbeat of {app}",
        ),
        ("CREATE SCHEMA postgres AUTHORIZATION {app} CREATE TABLE job_logs ()", "postgres.job_logs of {app}"),
        ("GRANT pipeline_web TO {app}; CREATE VIEW {app}.user_wallets AS SELECT 1", "{app}.user_wallets"),
        (
            "CREATE FUNCTION public.cancel_job(varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            " ALTER FUNCTION public.cancel_job(varchar) OWNER TO {app}",
            "cancel_job(character varying)",
        ),
        (
            "CREATE FUNCTION public.eq(text, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            " CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = int, FUNCTION = public.eq);"
            " ALTER OPERATOR public.= (text, int) OWNER TO {app}",
            "=(text,integer)",
        ),
    ],
)
def test_objects_that_could_be_called_in_place_of_ours(
    owner: psycopg.Connection, ask: Ask, app: str, made: str, object_named: str
) -> None:
    owner.execute(f"GRANT CREATE ON SCHEMA public TO {app}")  # type: ignore[arg-type]
    owner.execute(made.format(app=app))  # type: ignore[arg-type]
    owner.execute(f"REVOKE CREATE ON SCHEMA public FROM {app}")  # type: ignore[arg-type]
    (found,) = ask(check_shadows)
    assert (found.check, found.level) == ("shadows", Level.FAIL)
    assert found.message.startswith(object_named.format(app=app)), found.message


def test_who_may_create_objects_beside_ours(owner: psycopg.Connection, ask: Ask, app: str) -> None:
    owner.execute(f"GRANT CREATE ON SCHEMA public TO PUBLIC, {app}")  # type: ignore[arg-type]
    (found,) = ask(check_shadows)
    assert found.level is Level.FAIL
    assert found.message.startswith(f"PUBLIC, {app} may create objects")
    owner.execute(found.todo)  # type: ignore[arg-type]
    assert ask(check_shadows)[0].level is Level.OK


def test_what_nobody_looks_into_is_no_shadow(owner: psycopg.Connection, ask: Ask, app: str) -> None:
    owner.execute(
        f"CREATE TABLE {app}.orders (); CREATE FUNCTION public.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )  # type: ignore[arg-type]
    assert ask(check_shadows)[0].level is Level.OK
