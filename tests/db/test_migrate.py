"""Migrations: once, in order, all or nothing; and everything replaceable in place again."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from pipeline.db.errors import DatabaseIsNewer, MigrationEdited, MigrationError
from pipeline.db.migrate import Schema, installed_version, migrate
from pipeline.db.pool import pool_of
from pipeline.embedded.server import EmbeddedServer
from tests.databases import fresh_database
from tests.patience import PATIENCE

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
DIRECTORIES = ("migrations", "functions", "views", "roles")


class Files:
    """A small schema on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in DIRECTORIES:
            (root / "sql" / name).mkdir(parents=True)
        (root / "triggers").mkdir()
        self.write("sql/migrations/0001_things.sql", "CREATE TABLE things (id integer);\n")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8", newline="")

    def schema(self) -> Schema:
        return Schema.read(self.root / "sql", self.root / "triggers")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def ask(dsn: str, question: str) -> list[tuple[object, ...]]:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        return await (await connection.execute(question)).fetchall()  # type: ignore[arg-type]


async def test_the_schema_of_this_version_twice(empty_database: str) -> None:
    first = await migrate(empty_database)
    second = await migrate(empty_database)
    names = [migration.name for migration in Schema.of_this_version().migrations]
    assert (list(first.applied), list(second.applied)) == (names, [])
    assert first.version == second.version == len(names)
    assert await ask(empty_database, "SELECT version, name FROM schema_migrations ORDER BY 1") == list(
        enumerate(names, 1)
    )


async def test_several_migrators_of_one_database_at_once(empty_database: str) -> None:
    done = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert sorted(bool(migrated.applied) for migrated in done) == [False, False, False, True]


async def test_databases_of_one_server_at_once(server_dsn: str) -> None:
    """Roles are shared by all of them."""
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(fresh_database(server_dsn, label="together")) for _ in range(3)]
        await asyncio.gather(*map(migrate, databases))


async def test_a_later_migration_is_applied_on_top(empty_database: str, files: Files) -> None:
    await migrate(empty_database, files.schema())
    files.write(
        "sql/migrations/0002_more.sql", "ALTER TABLE things ADD name text;\nINSERT INTO things VALUES (1, 'a');"
    )
    assert (await migrate(empty_database, files.schema())).applied == ("0002_more",)
    assert await ask(empty_database, "SELECT name FROM things") == [("a",)]
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        assert await installed_version(connection) == 2


async def test_a_database_that_was_never_migrated_has_version_0(empty_database: str) -> None:
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        assert await installed_version(connection) == 0


async def test_a_database_from_a_newer_version_is_refused_and_left_alone(empty_database: str, files: Files) -> None:
    older = files.schema()
    files.write("sql/migrations/0002_more.sql", "ALTER TABLE things ADD name text;")
    files.write("sql/views/names.sql", "CREATE OR REPLACE VIEW names AS SELECT name FROM things;")
    await migrate(empty_database, files.schema())
    with pytest.raises(DatabaseIsNewer, match="schema version 2, this Flagpost knows 1"):
        await migrate(empty_database, older)
    assert await ask(empty_database, "SELECT count(*) FROM names") == [(0,)]


@pytest.mark.parametrize("change", ["text", "name"])
async def test_an_edited_migration_is_refused(empty_database: str, files: Files, change: str) -> None:
    await migrate(empty_database, files.schema())
    path = files.root / "sql" / "migrations" / "0001_things.sql"
    if change == "text":
        path.write_text(path.read_text(encoding="utf-8") + "-- a word more\n", encoding="utf-8")
    else:
        path.rename(path.with_name("0001_others.sql"))
    with pytest.raises(MigrationEdited, match="0001_"):
        await migrate(empty_database, files.schema())


async def test_line_endings_are_no_edit(empty_database: str, files: Files) -> None:
    await migrate(empty_database, files.schema())
    files.write("sql/migrations/0001_things.sql", "CREATE TABLE things (id integer);\r\n")
    assert (await migrate(empty_database, files.schema())).applied == ()


@pytest.mark.parametrize("name", ["0003_gap.sql", "0001_twice.sql", "next.sql"])
def test_numbers_without_gaps(files: Files, name: str) -> None:
    files.write(f"sql/migrations/{name}", "SELECT 1;")
    with pytest.raises(MigrationError, match="number"):
        files.schema()


async def test_a_failure_names_file_and_line_and_leaves_nothing(empty_database: str, files: Files) -> None:
    files.write(
        "sql/views/broken.sql", "-- Shows what is not there.\nCREATE VIEW broken AS\n    SELECT nothing FROM things;"
    )
    with pytest.raises(MigrationError, match=r"views/broken\.sql, line 3: column \"nothing\" does not exist"):
        await migrate(empty_database, files.schema())
    assert await ask(empty_database, "SELECT to_regclass('things'), to_regclass('schema_migrations')") == [(None, None)]


async def test_what_is_replaceable_comes_in_order_and_back(empty_database: str, files: Files) -> None:
    # The function needs the view, the trigger needs the function, the role's grant needs them all.
    files.write(
        "sql/functions/a.sql",
        "CREATE OR REPLACE FUNCTION total() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM shown';"
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused'; END $$;",
    )
    files.write("sql/views/a.sql", "CREATE OR REPLACE VIEW shown AS SELECT id FROM things;")
    files.write(
        "triggers/a.sql",
        "CREATE OR REPLACE TRIGGER refuse BEFORE DELETE ON things FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    files.write("sql/roles/a.sql", "GRANT SELECT ON shown TO pg_monitor;")
    assert (await migrate(empty_database, files.schema())).replaced == 4
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("INSERT INTO things VALUES (1)")
        await connection.execute("DROP TRIGGER refuse ON things")  # somebody at psql
        await migrate(empty_database, files.schema())
        with pytest.raises(psycopg.errors.RaiseException, match="refused"):
            await connection.execute("DELETE FROM things")
        assert await (await connection.execute("SELECT total()")).fetchone() == (1,)


async def test_tables_are_made_in_public_whatever_the_users_search_path(empty_database: str, files: Files) -> None:
    dsn = make_conninfo(empty_database, options="-c search_path=pg_temp")
    await migrate(dsn, files.schema())
    assert await ask(empty_database, "SELECT count(*) FROM public.things") == [(0,)]


async def test_a_table_that_is_locked_for_a_moment_is_waited_for(empty_database: str, files: Files) -> None:
    files.write("sql/views/a.sql", "CREATE OR REPLACE VIEW shown AS SELECT id FROM things;")
    await migrate(empty_database, files.schema())
    async with await AsyncConnection.connect(empty_database) as busy:
        await busy.execute("LOCK TABLE shown IN ACCESS SHARE MODE")
        migrating = asyncio.create_task(migrate(empty_database, files.schema()))
        while not await ask(empty_database, WAITING):
            assert not migrating.done()
        await busy.rollback()
    assert (await asyncio.wait_for(migrating, PATIENCE)).replaced == 1


async def test_auth_users_of_supabase_is_left_alone(empty_database: str) -> None:
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA auth")
        await connection.execute("CREATE TABLE auth.users (id uuid PRIMARY KEY, encrypted_password text, role text)")
        await connection.execute("INSERT INTO auth.users VALUES (gen_random_uuid(), 'x', 'authenticated')")
    await migrate(empty_database)
    await migrate(empty_database)
    assert await ask(empty_database, "SELECT encrypted_password, role FROM auth.users") == [("x", "authenticated")]


@pytest.fixture
def owner(server_dsn: str) -> Iterator[str]:
    """A login without superuser rights."""
    name = f"flagpost_test_owner_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        identifier = sql.Identifier(name)
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'owner'").format(identifier))
        yield name
        admin.execute(sql.SQL("DROP ROLE {}").format(identifier))


async def test_a_user_who_lacks_a_right_is_told_which(server_dsn: str, empty_database: str, owner: str) -> None:
    dsn = make_conninfo(empty_database, user=owner, password="owner")
    with pytest.raises(MigrationError, match=rf"ALTER DATABASE .* OWNER TO {owner}; ALTER ROLE {owner} CREATEROLE"):
        await migrate(dsn)


async def test_an_owner_who_is_no_superuser_migrates_a_fresh_server(home: Path) -> None:
    with EmbeddedServer(home, settings={"fsync": "off"}) as server:
        async with await AsyncConnection.connect(server.dsn, autocommit=True) as admin:
            await admin.execute("CREATE ROLE owner LOGIN CREATEROLE")
            await admin.execute("ALTER DATABASE flagpost OWNER TO owner")
        dsn = make_conninfo(server.dsn, user="owner")
        await migrate(dsn)
        await migrate(dsn)
        async with pool_of(dsn, "sync", role="pipeline_sync") as pool, pool.connection() as connection:
            assert await (await connection.execute("SELECT current_user")).fetchone() == ("pipeline_sync",)


async def test_an_owner_who_is_no_superuser_migrates_where_the_roles_are_there(
    server_dsn: str, empty_database: str, template: str, owner: str
) -> None:
    async with await AsyncConnection.connect(empty_database, autocommit=True) as admin:
        await admin.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(admin.info.dbname), sql.Identifier(owner))
        )
        dsn = make_conninfo(empty_database, user=owner, password="owner")
        with pytest.raises(MigrationError, match=r"may not take the role pipeline_\w+\n.*GRANT pipeline_\w+ TO"):
            await migrate(dsn)
        roles = await (await admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'pipeline%'")).fetchall()
        for (role,) in roles:
            await admin.execute(
                sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(sql.Identifier(role), sql.Identifier(owner))
            )
    try:
        assert (await migrate(dsn)).applied
    finally:
        async with await AsyncConnection.connect(empty_database, autocommit=True) as admin:
            await admin.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(owner)))
            await admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(owner)))


async def test_our_roles_read_the_version_and_nobody_else(database: str, owner: str) -> None:
    dsn = make_conninfo(database, user=owner, password="owner")
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await installed_version(connection)
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("SET ROLE pipeline_sync")
        assert await installed_version(connection) == Schema.of_this_version().version


async def test_a_migrator_waits_for_another_one_and_says_for_whom(
    empty_database: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(empty_database, files.schema())
    told = asyncio.Event()
    monkeypatch.setattr("pipeline.db.migrate.logger.info", lambda *_: told.set())
    async with await AsyncConnection.connect(empty_database) as other:
        await other.execute("LOCK TABLE schema_migrations IN SHARE UPDATE EXCLUSIVE MODE")
        migrating = asyncio.create_task(migrate(empty_database, files.schema()))
        await asyncio.wait_for(told.wait(), PATIENCE)
        await other.rollback()
    await asyncio.wait_for(migrating, PATIENCE)


async def test_a_lock_that_is_held_too_long_is_told_with_its_holder(
    empty_database: str, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(
        "sql/views/a.sql", "SET LOCAL lock_timeout = '20ms'; CREATE OR REPLACE VIEW shown AS SELECT id FROM things;"
    )
    await migrate(empty_database, files.schema())
    monkeypatch.setattr("pipeline.db.migrate.PAUSE", 0.001)
    async with await AsyncConnection.connect(make_conninfo(empty_database, application_name="psql")) as other:
        await other.execute("LOCK TABLE shown IN ACCESS SHARE MODE")
        with pytest.raises(MigrationError, match=rf"session {other.info.backend_pid} .*application psql, holds shown"):
            await migrate(empty_database, files.schema())


async def test_several_migrate_a_fresh_database_at_once(empty_database: str, files: Files) -> None:
    done = await asyncio.gather(*(migrate(empty_database, files.schema()) for _ in range(4)))
    assert sorted(len(one.applied) for one in done) == [0, 0, 0, 1]


async def test_locks_are_back_after_a_restore_of_the_schema_public_alone(empty_database: str) -> None:
    await migrate(empty_database)
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("DROP SCHEMA flagpost_locks CASCADE")
        await migrate(empty_database)
        await connection.execute("SELECT lock_gas(1), lock_thresholds(true)")


async def test_jobs_that_had_ended_leave_the_index_of_claims(empty_database: str) -> None:
    """0013_claims: jobs of the version before were queued for ever, and those that had ended do not change any more."""
    schema = Schema.of_this_version()
    await migrate(empty_database, Schema(schema.migrations[:12], ()))
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            """
            INSERT INTO job_logs (job_id, job_type, wallet_address, status, completed_at, awaiting_chain)
            SELECT name, 'gas-topup', 'T', split_part(name, ' ', 1), ended, name = 'active on the chain'
            FROM (VALUES ('pending', NULL), ('retrying', NULL), ('active', NULL), ('active on the chain', NULL),
                         ('completed', now()), ('failed', now()), ('cancelled', now())) AS jobs (name, ended)
            """
        )
    await migrate(empty_database)
    assert await ask(empty_database, "SELECT job_id FROM job_logs WHERE queued ORDER BY job_id") == [
        ("active",),
        ("active on the chain",),
        ("pending",),
        ("retrying",),
    ]
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("UPDATE job_logs SET status = 'pending' WHERE job_id = 'failed'")
    assert ("failed",) in await ask(empty_database, "SELECT job_id FROM job_logs WHERE queued")
