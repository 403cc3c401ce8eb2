"""Whatever an administrator gives a role or a database: our sessions go on, or say why not."""

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from loguru import logger
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row
from psycopg_pool import PoolTimeout

from pipeline.admin.session import database as cli_database
from pipeline.db.errors import WrongSession
from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection, pool_of
from pipeline.db.session import SETTINGS, open_session, session_dsn, settle
from pipeline.db.statements import statement
from pipeline.queue.jobs import JobType, Parked
from pipeline.settings import Settings
from pipeline.workers.runtime import Runtime
from pipeline.workers.sweep import Sweep
from pipeline.workers.sync import Sync
from tests.chaos.world import Desk, World
from tests.db.sessions import rows
from tests.db.settings_walk import MOST_VALUES, Odd, batches, give, odd_settings, take_back
from tests.db.test_sync import Ledger, Watch
from tests.db.worker_kit import PATIENCE, Script, executor, heartbeat, running
from tests.e2e.running import FLAGPOST
from tests.seed import TRX, USDT

STOPS: dict[str, tuple[str, str]] = {
    "session_replication_role": ("replica", "session_replication_role is replica"),
    "default_transaction_read_only": ("on", "session is read-only"),
    "session_preload_libraries": ("odd", 'could not access file "odd"'),
    "local_preload_libraries": ("odd", 'could not access file "\\$libdir/plugins/odd"'),
    "dynamic_library_path": ("", 'could not access file "plpgsql"'),
    "transaction_timeout": ("1", "transaction timeout"),
}
"""What a session cannot do without, or set for itself: and what is said then."""


@pytest.fixture
def owner(database: str) -> Iterator[psycopg.Connection]:
    """The administrator, whose own session began before."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def login(owner: psycopg.Connection, database: str) -> Iterator[str]:
    """A DSN with no more rights than the processes have."""
    name = f"walker_{owner.info.backend_pid}"
    owner.execute(
        sql.SQL("CREATE ROLE {} LOGIN IN ROLE pipeline_sync, pipeline_executor, pipeline_confirmations").format(
            sql.Identifier(name)
        )
    )
    yield make_conninfo(database, user=name)
    owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@dataclass
class Pass:
    """Everything that processes and commands do, once, in sessions that begin now."""

    world: World
    login: str
    database: str

    async def run(self) -> None:
        wallet = await self.world.wallet(usdt=250 * USDT)
        await self._pay(wallet.id)
        await self._read(wallet.address)
        async with running(Sweep(), self.login) as runtime:
            await heartbeat(runtime)
        await asyncio.to_thread(self._look)

    async def _pay(self, wallet_id: int) -> None:
        """A top-up from the flag to its end, so that every guard and trigger of money fires."""
        await self.world.devnet.solidify()
        await self.world.connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [wallet_id])
        async with (
            pool_of(self.login, "gas-topup", role="pipeline_executor", index_plans=True, min_size=0) as pool,
            pool_of(self.login, "confirmations", role="pipeline_confirmations", min_size=0) as confirming,
        ):
            pool.timeout = confirming.timeout = 5.0
            desk = Desk(self.world, pool, confirming)
            try:
                outcomes = {job.wallet_id: outcome for job, outcome in await desk.run(JobType.GAS_TOPUP)}
                assert isinstance(outcomes[wallet_id], Parked), outcomes
                await desk.settle()
            finally:
                await desk.close()
        transfer = await self.world.row("SELECT state FROM transfers WHERE wallet_id = %s", wallet_id)
        job = await self.world.row("SELECT status FROM job_logs WHERE wallet_id = %s", wallet_id)
        assert (transfer["state"], job["status"]) == ("final", "completed")

    async def _read(self, address: str) -> None:
        """One balance that can be read, and one that cannot: arrays with and without NULL."""
        ledger, watch = Ledger(), Watch()
        ledger.block = 10**6
        ledger.amounts[address, None] = 7 * TRX
        (other,) = [await self.world.wallet()]
        ledger.errors[other.address] = "no contract «there» — 余額"
        async with running(Sync(lambda row: ledger, observer=watch), self.login):  # type: ignore[arg-type]
            await watch.until(lambda: any(batch.failed for batch in watch.batches) and watch.read >= 2)
        read = await self.world.rows(
            "SELECT w.address, b.last_error, b.on_chain_balance_raw AS raw FROM wallet_balances b JOIN wallets w"
            " ON w.id = b.wallet_id WHERE w.address = ANY (%s) ORDER BY b.asset_on_chain_id",
            [address, other.address],
        )
        assert {row["last_error"] for row in read if row["address"] == address} == {None}
        assert {row["raw"] for row in read if row["address"] == address} == {str(7 * TRX), "0"}
        assert {row["last_error"] for row in read if row["address"] == other.address} == {ledger.errors[other.address]}

    def _look(self) -> None:
        """What people do: a migration, and some questions."""
        asyncio.run(migrate(self.database))
        filters = dict.fromkeys(
            ("status", "job_type", "triggered_by", "wallet", "since", "before_created", "before_seq")
        )
        with cli_database(Settings(database_url=self.database), "walk") as connection:
            assert connection.execute(statement("jobs/list"), {**filters, "summaries": True, "limit": 9}).fetchall()
            assert connection.execute(statement("doctor/queue")).fetchall() is not None


@pytest.fixture
async def one_pass(world: World, login: str, database: str) -> Pass:
    return Pass(world, login, database)


async def goes_on(owner: psycopg.Connection, one_pass: Pass, odd: list[Odd]) -> str | None:
    """Why a pass fails with these settings; None if it does not."""
    give(owner, odd)
    try:
        async with asyncio.timeout(PATIENCE):
            await one_pass.run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        take_back(owner)
    return None


async def the_culprits(owner: psycopg.Connection, one_pass: Pass, odd: list[Odd]) -> list[str]:
    """The settings of a batch that fails, each with what is said: by halves."""
    said = await goes_on(owner, one_pass, odd)
    if said is None:
        return []
    if len(odd) == 1:
        return [f"{odd[0]}: {said}"]
    half = len(odd) // 2
    found = await the_culprits(owner, one_pass, odd[:half]) + await the_culprits(owner, one_pass, odd[half:])
    return found or [f"all of these together: {', '.join(map(str, odd))}: {said}"]


@pytest.mark.parametrize("number", range(MOST_VALUES))
async def test_with_every_setting_that_a_database_may_have_work_goes_on(
    owner: psycopg.Connection, one_pass: Pass, number: int
) -> None:
    odd = [one for one in odd_settings(owner) if one.name not in STOPS]
    assert len({one.name for one in odd}) > 100
    assert await goes_on(owner, one_pass, []) is None
    culprits = await the_culprits(owner, one_pass, batches(odd)[number])
    assert not culprits, "\n".join(culprits)


@pytest.mark.parametrize("name", STOPS)
async def test_with_the_others_a_process_says_why_not_and_goes_on_once_that_is_taken_back(
    owner: psycopg.Connection, one_pass: Pass, name: str
) -> None:
    value, said = STOPS[name]
    if owner.execute("SELECT FROM pg_settings WHERE name = %s", [name]).fetchone() is None:
        pytest.skip(f"this server has no {name}")
    if name == "dynamic_library_path" and owner.info.server_version < 180_000:
        pytest.skip("before 18 plpgsql is loaded from its own directory, whatever this says")
    give(owner, [Odd(name, value)])
    with log_lines() as lines:
        runtime = Runtime(Settings(database_url=one_pass.login), executor(Script()), start_retry_seconds=0.05)
        runtime.pool.timeout = 1.0
        life = asyncio.create_task(runtime.run())
        try:
            await until(lambda: any(re.search(said, line) for line in lines))
            assert not life.done()
            take_back(owner)
            async with asyncio.timeout(PATIENCE):
                await runtime.ready.wait()
            await heartbeat(runtime)
        finally:
            runtime.stop()
            await life


async def test_a_login_without_triggers_is_refused_with_the_statement_that_sets_it_right(
    owner: psycopg.Connection, one_pass: Pass
) -> None:
    give(owner, [Odd("session_replication_role", "replica")])
    dsn = session_dsn(one_pass.login, "sync", "pipeline_sync")
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(WrongSession, match="no trigger fires") as refused:
            await settle(connection, "sync", "pipeline_sync")
    owner.execute(cure_in(refused.value)[0])
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await settle(connection, "sync", "pipeline_sync")


async def test_behind_a_pooler_a_login_is_told_all_that_it_lacks(owner: psycopg.Connection, login: str) -> None:
    """Start-up settings do not get through: the login must have them."""
    give(
        owner,
        [
            Odd("DateStyle", "SQL, DMY"), Odd("default_transaction_isolation", "serializable"),
            Odd("array_nulls", "off"), Odd("statement_timeout", "500"), Odd("jit", "on"), Odd("TimeZone", "Japan"),
        ],
    )  # fmt: skip
    async with pool_of(login, "sync", role=None, pooler=True, min_size=0, max_size=1) as pool:
        with pytest.raises(WrongSession) as refused:
            await pool._connect()
        told = cure_in(refused.value)
        assert [re.search(r"SET (\w+)", one)[1] for one in told] == [  # type: ignore[index]
            "search_path", "DateStyle", "array_nulls", "default_transaction_isolation", "statement_timeout",
        ]  # fmt: skip
        assert "RECONNECT" in str(refused.value)
        with pytest.raises(PoolTimeout, match="search_path is"):
            await pool.connection(timeout=0.5).__aenter__()
        for one in told:
            owner.execute(one)
        async with await pool._connect():
            pass


@pytest.mark.parametrize("path", ["public", "public, pg_catalog, pg_temp", "pg_temp, public", "public, pg_temp, mine"])
async def test_a_search_path_that_finds_others_objects_is_none_of_ours(login: str, path: str) -> None:
    dsn = make_conninfo(login, options=f"-c search_path={path.replace(' ', '')}")
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        with pytest.raises(WrongSession, match="search_path is"):
            await settle(connection, "sync", pooler=True)


@pytest.mark.parametrize("path", ["pg_catalog, public, pg_temp", "public,pg_temp", '"public", pg_temp'])
async def test_a_search_path_that_finds_ours_alone_will_do(login: str, path: str) -> None:
    dsn = make_conninfo(login, options=f"-c search_path={path.replace(' ', '')}")
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await settle(connection, "sync", pooler=True)


async def test_variables_of_the_drivers_environment_change_nothing(
    monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """libpq sends them after our own settings, where they would win."""
    for name, odd in (
        ("PGDATESTYLE", "SQL, DMY"), ("PGTZ", "Asia/Tokyo"), ("PGGEQO", "on"), ("PGCLIENTENCODING", "LATIN1"),
        ("PGOPTIONS", "-c array_nulls=off"),
    ):  # fmt: skip
        monkeypatch.setenv(name, odd)
    async with await open_session(database, "test", tuple_row) as connection:
        found = dict(await rows(connection, "SELECT name, setting FROM pg_settings"))
    wanted = {one.name: one.value for one in SETTINGS if one.name in found and not one.is_own_timeout}
    assert {name: found[name] for name in wanted} == wanted


def test_each_setting_is_named_once_with_what_would_happen_without_it() -> None:
    assert len({one.name for one in SETTINGS}) == len(SETTINGS)
    assert all(one.why for one in SETTINGS)


@pytest.fixture
def attacker(owner: psycopg.Connection) -> Iterator[Callable[[str, str, str], None]]:
    """An application's role on the same server, which may make schemas: ``shadow(schema, function, returns)`` makes one
    with a function of ours, which notes whose rights it has."""
    name = f"app_{owner.info.backend_pid}"
    owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    owner.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(owner.info.dbname), sql.Identifier(name))
    )
    owner.execute("CREATE TABLE loot (who text); GRANT INSERT ON loot TO PUBLIC")

    def shadow(schema: str, signature: str, returns: str) -> None:
        with psycopg.connect(make_conninfo(owner.info.dsn, user=name), autocommit=True) as app:
            app.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            app.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(sql.Identifier(schema)))
            body = "$$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN NULL; END $$"
            app.execute(f"CREATE FUNCTION {schema}.{signature} RETURNS {returns} LANGUAGE plpgsql AS {body}")  # type: ignore[arg-type]

    yield shadow
    owner.execute(sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(sql.Identifier(name)))


def loot(owner: psycopg.Connection) -> set[str]:
    return {who for (who,) in owner.execute("SELECT who FROM loot").fetchall()}


async def test_a_schema_named_like_our_role_is_not_looked_into_by_a_process(
    owner: psycopg.Connection, attacker: Callable[[str, str, str], None], login: str, database: str
) -> None:
    """Its worker_heartbeat ran as pipeline_executor at the next heartbeat, and then as the session's owner."""
    attacker("pipeline_executor", "worker_heartbeat(uuid, text, text, text, jsonb)", "text")
    attacker("pipeline_executor", "mark_silent_workers(interval)", "text")
    async with running(executor(Script()), database) as runtime:
        await heartbeat(runtime)
    assert loot(owner) == set()


def test_a_schema_named_like_the_login_is_not_looked_into_by_a_command(
    owner: psycopg.Connection, attacker: Callable[[str, str, str], None], database: str
) -> None:
    user = owner.info.user
    attacker(user, "cancel_job(text, uuid)", "boolean")
    attacker(user, "get_job_queue_stats()", "text")
    attacker(user, "schema_version()", "integer")
    with cli_database(Settings(database_url=database), "walk") as connection:
        with pytest.raises(psycopg.Error, match='there is no job "x"'):
            connection.execute(statement("jobs/cancel"), {"job": "x", "admin": None})
        connection.rollback()
    asyncio.run(migrate(database))
    command = [FLAGPOST, "db", "psql", "-Atc", "SELECT count(*) FROM get_job_queue_stats()"]
    env = {**os.environ, "DATABASE_URL": database}
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout == "5\n"
    assert loot(owner) == set()


async def test_every_function_of_ours_has_a_search_path_of_its_own(connection: Connection) -> None:
    """It runs with the owner's rights, or for whoever calls it, whatever his path is."""
    unpinned = await rows(
        connection,
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'
          AND NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, public, pg_temp']
        """,
    )
    assert unpinned == []


async def test_what_functions_tell_programs_does_not_depend_on_the_session(
    connection: Connection, database: str, world: World
) -> None:
    """A person at psql may have any DateStyle; the time in the DETAIL of a refusal is read by programs."""
    wallet = await world.wallet()
    await connection.execute("UPDATE chains SET gas_cooldown = '10 minutes'")
    await connection.execute(
        "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kathmandu'; SET IntervalStyle = iso_8601"
    )
    insert = (
        "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,"
        " idempotency_key, fee_reserved)"
        " SELECT 'gas', j.id, j.chain_id, j.wallet_id, %s, 'G', j.wallet_address, 1, j.job_id, 0"
        " FROM job_logs j WHERE j.job_id = %s"
    )
    for name in ("first", "second"):
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, status, wallet_address, lease)"
            " VALUES (%s, 'gas-topup', 'active', %s, 1)",
            [name, wallet.address],
        )
        if name == "first":
            await connection.execute(insert, [world.native_id, name])
            await connection.execute("UPDATE transfers SET state = 'rejected'; UPDATE job_logs SET status = 'failed'")
            await connection.execute("ALTER TABLE transfers DISABLE TRIGGER ALL")
            await connection.execute("UPDATE transfers SET state = 'final'")
            await connection.execute("ALTER TABLE transfers ENABLE TRIGGER ALL")
    with pytest.raises(psycopg.Error) as refused:
        await connection.execute(insert, [world.native_id, "second"])
    assert refused.value.sqlstate == "FP001"
    until_then = datetime.fromisoformat(refused.value.diag.message_detail or "")
    assert timedelta(minutes=5) < until_then - datetime.now(UTC) < timedelta(minutes=11)


def cure_in(refusal: WrongSession) -> list[str]:
    """The statements that a refusal names."""
    return re.findall(r"ALTER ROLE .*? SET \w+ = (?:'[^']*'|[a-z_, ]+?)(?=;|$)", str(refusal))


@contextlib.contextmanager
def log_lines() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the log has no signal
            await asyncio.sleep(0.01)
