"""Rights as Supabase makes them: its default privileges give anon, authenticated and service_role everything on what is
created, and its API lets anybody speak as anon. What an attack of theirs comes to after ``flagpost migrate``."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import AsyncConnection

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from tests.db.cli_kit import Shell
from tests.db.sessions import rows, value

API_ROLES = ("anon", "authenticated", "service_role")
OTHERS = "SELECT DISTINCT grantee FROM rights_of_others() ORDER BY 1"
ATTACKS = {
    "empty the audit trail": "TRUNCATE admin_actions",
    "empty the configuration, and the pause with it": "TRUNCATE system_config",
    "empty the registry": "TRUNCATE worker_registry",
    "write the configuration": "INSERT INTO system_config (key, value) VALUES ('paused', 'true')",
    "read wallets": "SELECT FROM wallets",
    "move the sequence of jobs": "SELECT setval('job_logs_seq', 1)",
    "use up the sequence of jobs": "SELECT nextval('job_logs_seq')",
    "move the ids of transfers": "SELECT setval('transfers_id_seq', 1)",
    "put code behind a table": "CREATE TRIGGER evil AFTER INSERT ON job_logs"
    " FOR EACH ROW EXECUTE FUNCTION theirs.evil()",
    "hang a key on a table": "CREATE TABLE theirs.hook (id uuid REFERENCES job_logs (id))",
    "put our code behind their table": "CREATE TRIGGER ours AFTER UPDATE ON theirs.bait"
    " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION settle_flags()",
    "keep gas from being sent": "SELECT lock_gas(1)",
    "keep nonces from being reserved": "SELECT lock_sender(1, 'T')",
    "lead": "SELECT lead('sweep', gen_random_uuid(), '1 min')",
    "register workers": "SELECT register_worker(gen_random_uuid(), 'w', 'sync', NULL, 1, 'h', NULL, '{}', 'secret')",
    "look into the queue": "SELECT get_job_queue_stats()",
    "learn who leads": "SELECT worker_sessions()",
    "read the ledger": "SELECT FROM schema_migrations",
    "read signed bytes through a column": "SELECT signed_bytes FROM chain_transactions",
}
BY_COLUMN = "GRANT SELECT (signed_bytes), UPDATE (state) ON chain_transactions TO anon, PUBLIC"


@pytest.fixture
async def supabase(empty_database: str) -> AsyncIterator[Connection]:
    """A superuser's session on a migrated database with the roles and defaults of Supabase, and a schema of theirs."""
    async with await AsyncConnection.connect(empty_database, autocommit=True) as admin:
        for role in API_ROLES:
            await admin.execute(f"CREATE ROLE {role} NOLOGIN {'BYPASSRLS' if role == 'service_role' else ''}".encode())
        try:
            await admin.execute("CREATE SCHEMA theirs")
            await admin.execute("GRANT ALL ON SCHEMA theirs TO anon, authenticated, service_role")
            for role in API_ROLES:
                await admin.execute(f"GRANT USAGE ON SCHEMA public TO {role}".encode())
                for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
                    await admin.execute(
                        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO {role}".encode()
                    )
            await migrate(empty_database)
            await admin.execute("INSERT INTO user_wallets (address, network) VALUES ('Tone', 'tron')")
            yield admin
        finally:
            await admin.execute("RESET ROLE")
            for role in API_ROLES:
                await admin.execute(f"DROP OWNED BY {role} CASCADE".encode())
                await admin.execute(f"DROP ROLE {role}".encode())


async def attack(admin: Connection, role: str, statement: str) -> psycopg.Error | None:
    """What the database says to an attempt of that role; None: it went through. Undone in any case."""
    try:
        async with admin.transaction(force_rollback=True):
            await admin.execute(f"SET LOCAL ROLE {role}".encode())
            await admin.execute("CREATE TABLE theirs.bait (LIKE public.transfers)")
            await admin.execute(
                "CREATE FUNCTION theirs.evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
            )
            await admin.execute(statement.encode())
    except psycopg.Error as error:
        return error
    return None


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_no_attack_gets_through(supabase: Connection, role: str) -> None:
    refusals = {name: await attack(supabase, role, statement) for name, statement in ATTACKS.items()}
    assert {name: type(error) for name, error in refusals.items()} == dict.fromkeys(
        ATTACKS, psycopg.errors.InsufficientPrivilege
    )


async def test_the_key_of_an_administrator_keeps_the_rows_and_no_more(supabase: Connection) -> None:
    """service_role passes row level security: with it people's own back ends write jobs and flags."""
    may = (
        "UPDATE user_wallets SET needs_gas = true",
        "INSERT INTO job_logs (job_id, job_type, wallet_address) SELECT 'by-hand', 'sync', address FROM wallets",
        "INSERT INTO admin_actions (action_type) VALUES ('looked')",
    )
    assert [await attack(supabase, "service_role", statement) for statement in may] == [None] * len(may)
    rows_only = {"read wallets", "write the configuration", "use up the sequence of jobs"}
    others = [statement for name, statement in ATTACKS.items() if name not in rows_only | {
        "read the ledger", "read signed bytes through a column"}]  # fmt: skip
    for statement in (*others, "DELETE FROM admin_actions", "UPDATE admin_actions SET action_type = 'nothing'"):
        assert isinstance(await attack(supabase, "service_role", statement), psycopg.errors.InsufficientPrivilege), (
            statement
        )


async def test_what_was_granted_by_hand_is_gone_after_the_next_migrate(
    supabase: Connection, empty_database: str
) -> None:
    await supabase.execute("GRANT ALL ON job_logs, user_wallets TO anon, PUBLIC")
    await supabase.execute(BY_COLUMN)
    await supabase.execute("GRANT ALL ON SEQUENCE job_logs_seq TO PUBLIC")
    await supabase.execute("GRANT EXECUTE ON FUNCTION get_job_queue_stats(), worker_sessions() TO PUBLIC")
    assert [name for (name,) in await rows(supabase, OTHERS)] == ["PUBLIC", "anon", "service_role"]
    await migrate(empty_database)
    assert [name for (name,) in await rows(supabase, OTHERS)] == ["service_role"]


async def test_tables_that_are_not_ours_are_left_alone(supabase: Connection, empty_database: str) -> None:
    """Their application's, in the same schema, and the defaults that it relies on."""
    await supabase.execute("CREATE TABLE posts (id integer)")
    await supabase.execute("CREATE FUNCTION posted() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    await migrate(empty_database)
    await supabase.execute("CREATE TABLE comments (id integer)")
    for table in ("posts", "comments"):
        assert await value(supabase, "SELECT has_table_privilege('anon', %s, 'SELECT, INSERT')", table)
    assert await value(supabase, "SELECT has_function_privilege('anon', 'posted()', 'EXECUTE')")


@pytest.mark.parametrize("security", ["DEFINER", "INVOKER"])
@pytest.mark.parametrize("owner", ["the application's", "ours"])
async def test_functions_that_are_not_ours_are_left_alone(
    supabase: Connection, empty_database: str, security: str, owner: str
) -> None:
    """An application that pins the search_path of its functions lost its rights on them by migrate, and our roles and
    the owner's rights were given out with them."""
    await supabase.execute(
        f"CREATE FUNCTION app_thing() RETURNS int LANGUAGE sql SECURITY {security}"  # type: ignore[arg-type]
        " SET search_path = pg_catalog, public, pg_temp AS 'SELECT 1'"
    )
    # One of the same name as ours with other parameters is not ours, either.
    await supabase.execute(
        f"CREATE FUNCTION cancel_job(bigint) RETURNS int LANGUAGE sql SECURITY {security}"  # type: ignore[arg-type]
        " SET search_path = pg_catalog, public, pg_temp AS 'SELECT 1'"
    )
    for function in ("app_thing()", "cancel_job(bigint)"):
        await supabase.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC, anon".encode())
        await supabase.execute(f"GRANT EXECUTE ON FUNCTION {function} TO authenticated".encode())
        if owner != "ours":
            await supabase.execute("GRANT CREATE ON SCHEMA public TO service_role")
            await supabase.execute(f"ALTER FUNCTION {function} OWNER TO service_role".encode())
    rights = "SELECT proacl::text FROM pg_proc WHERE proname = 'app_thing' OR proargtypes::text = '20' ORDER BY proname"
    before = await rows(supabase, rights)
    await migrate(empty_database)
    assert await rows(supabase, rights) == before
    said = "SELECT FROM rights_of_others() WHERE object IN ('app_thing()', 'cancel_job(bigint)')"
    assert await rows(supabase, said) == []


async def test_our_objects_are_all_there_are(connection: Connection) -> None:
    """A table that is added has to be added to own_relations(), or nobody takes it from anybody."""
    there = await rows(
        connection,
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'S', 'm', 'p', 'f')"
        " AND relnamespace IN ('public'::regnamespace, 'flagpost_locks'::regnamespace) ORDER BY 1",
    )
    assert await rows(connection, "SELECT r::regclass::text FROM own_relations() r ORDER BY 1") == there
    signature = "SELECT proname || '(' || oidvectortypes(proargtypes) || ')' FROM pg_proc WHERE {} ORDER BY 1"
    there = await rows(connection, signature.format("pronamespace = 'public'::regnamespace"))
    assert await rows(connection, signature.format("oid IN (SELECT own_functions())")) == there


async def test_nobody_else_has_a_right_on_a_fresh_database(connection: Connection) -> None:
    assert await rows(connection, "SELECT * FROM rights_of_others()") == []


class TestDoctor:
    @pytest.fixture
    def found(self, shell: Shell, supabase: Connection, empty_database: str) -> Shell:
        shell.env.setenv("DATABASE_URL", empty_database)
        return shell

    @staticmethod
    async def said(shell: Shell) -> dict[str, tuple[str, str]]:
        """Level and message, by who has rights."""
        answer = await asyncio.to_thread(shell, "doctor", "--json")
        checks = [check for check in answer.json["checks"] if check["check"] == "database.rights"]
        return {check["message"].split()[0]: (check["level"], check["message"]) for check in checks}

    async def test_after_migrate_there_is_only_the_administrators_key(self, found: Shell) -> None:
        said = await self.said(found)
        assert {name: level for name, (level, _) in said.items()} == {"service_role": "note"}

    async def test_each_who_has_rights_is_named(self, found: Shell, supabase: Connection) -> None:
        await supabase.execute("GRANT SELECT ON job_logs TO anon")
        await supabase.execute("GRANT TRUNCATE ON admin_actions TO authenticated")
        await supabase.execute("GRANT EXECUTE ON FUNCTION lock_gas(integer) TO PUBLIC")
        said = await self.said(found)
        assert said["anon"] == ("warn", "anon has SELECT on job_logs")
        assert said["authenticated"] == ("fail", "authenticated has TRUNCATE on admin_actions")
        assert said["PUBLIC"] == ("fail", "PUBLIC has EXECUTE on lock_gas(integer)")
