"""All processes, as real ones, while their database becomes another one: a standby that takes no writes yet, a clock
that is wrong, an administrator's odd settings. They go on; what customers paid in arrives, once."""

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from pipeline.db.migrate import migrate
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions
from pipeline.devnet.server import running as network_running
from tests.chaos.fleet import Process, Zygote
from tests.chaos.trial import BLOCK_SECONDS, SOLID_LAG
from tests.chaos.world import MNEMONIC, Rules, World
from tests.conftest import temporary_home
from tests.patience import PATIENCE
from tests.policy import write_policy
from tests.proxy import Proxy
from tests.seed import TRX, USDT
from tests.servers import FAKETIME, Server

KINDS = ("sync", "gas-topup", "consolidation", "confirmations", "sweep")
READ_ONLY_SECONDS = 5.0
WRONG_SECONDS = 6.0
RECOVERY_SECONDS = 20.0
"""Until payments go on; 5 s are the aim, on a machine with nothing else to do."""
CONFIGURATION = {
    "heartbeat_seconds": "1", "sweep.interval_seconds": "2", "sweep.grace_seconds": "0.5", "sync.idle_seconds": "1",
    "queue.backoff_base_seconds": "0.2", "queue.backoff_cap_seconds": "1", "queue.quiet_seconds": "2",
}  # fmt: skip

EVIDENCE = (
    "SELECT now(), job_id, wallet_id, status, run_at, updated_at, completed_at, error_message FROM job_logs"
    " WHERE job_type <> 'sync' ORDER BY seq",
    "SELECT id, needs_gas, needs_consolidation, wanted_job, wanted_since, needs_gas_since, needs_consolidation_since,"
    " consolidation_ready_since FROM wallets ORDER BY id",
    "SELECT * FROM wallet_balances ORDER BY id",
    "SELECT id, kind, wallet_id, state, created_at, settled_at FROM transfers ORDER BY id",
)
"""What is asked about a deposit that does not arrive."""


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


@dataclass(eq=False)
class Works:
    """The whole pipeline on one database."""

    world: World
    zygote: Zygote
    dsn: str
    directory: Path
    deposits: dict[str, int] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    async def start(self) -> None:
        for kind in KINDS:
            env = {"DATABASE_URL": self.dsn, "FLAGPOST_HOME": str(self.directory)}
            if kind in ("gas-topup", "consolidation"):
                env["FLAGPOST_MNEMONIC"] = MNEMONIC
            self.processes.append(await self.zygote.start(kind, env, self.log))

    async def until_up(self) -> None:
        await self.until("SELECT FROM worker_registry WHERE status = 'running' HAVING count(*) = 5")

    async def deposit(self, count: int = 1) -> list[str]:
        """Customers pay in; the addresses."""
        addresses = []
        for _ in range(count):
            amount = (250 + len(self.deposits)) * USDT
            wallet = await self.world.wallet(usdt=amount)
            self.deposits[wallet.address] = amount
            addresses.append(wallet.address)
        return addresses

    async def until(self, query: str, *parameters: object) -> None:
        """Until the question has a row, while every process lives."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    self.check()
                    with contextlib.suppress(psycopg.OperationalError):
                        if await self.world.rows(query, *parameters):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never: {query}\n{self.said[-6000:]}") from None

    async def until_said(self, pattern: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not re.search(pattern, self.said):
                    self.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"nobody said {pattern!r}\n{self.said[-6000:]}") from None

    async def until_arrived(self) -> None:
        """Every deposit, by the word of the chain, once."""
        try:
            async with asyncio.timeout(PATIENCE):
                while {one.sender for one in await self.world.swept()} < set(self.deposits):
                    self.check()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            evidence = [await self.world.rows(query) for query in EVIDENCE]
            raise AssertionError("\n".join(map(str, [*evidence, self.said[-20_000:]]))) from None
        await self.until("SELECT WHERE NOT EXISTS (SELECT FROM transfers WHERE state NOT IN ('final', 'rejected'))")

    async def judge(self) -> None:
        assert {one.sender: one.amount for one in await self.world.swept()} == self.deposits
        assert len(await self.world.swept()) == len(self.deposits), "one of them was swept twice"
        assert sorted(one.receiver for one in await self.world.paid_gas()) == sorted(self.deposits), "gas once for each"
        await self.world.assert_database_equals_chain()

    async def stop(self) -> None:
        self.check()
        for process in self.processes:
            process.kill(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert {await process.status for process in self.processes} == {0}, self.said[-6000:]

    def check(self) -> None:
        """Nobody has ended."""
        ended = [f"{one.kind} {one.status.result()}" for one in self.processes if one.status.done()]
        assert not ended, f"{ended}\n{self.said[-6000:]}"

    @property
    def log(self) -> Path:
        return self.directory / "processes.log"

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@contextlib.asynccontextmanager
async def works(dsn: str, zygote: Zygote, directory: Path, *, of_world: str | None = None) -> AsyncIterator[Works]:
    """The processes of ``dsn`` are not started yet. ``of_world``: a DSN of the test's own session."""
    options = DevnetOptions(block_time=BLOCK_SECONDS, solid_lag=SOLID_LAG)
    rules = Rules(block_time=timedelta(seconds=BLOCK_SECONDS))
    async with (
        network_running(options) as network,
        DevnetClient(network.main.url) as devnet,
        await AsyncConnection.connect(of_world or dsn, autocommit=True) as connection,
    ):
        world = await World.create(connection, devnet, rules)
        await connection.execute("UPDATE chains SET sync_interval = '1 second'")
        for key, value in CONFIGURATION.items():
            await connection.execute("INSERT INTO system_config (key, value) VALUES (%s, %s)", [key, value])
        write_policy(directory, world.policy())
        made = Works(world, zygote, dsn, directory)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()
            if made.world.connection is not connection:
                await made.world.connection.close()


@pytest.fixture
def primary() -> Iterator[Server]:
    with temporary_home() as path, Server(path) as server:
        yield server


@pytest.fixture
def standby(primary: Server) -> Iterator[Server]:
    asyncio.run(_prepare(primary))
    with temporary_home() as path, primary.standby(path) as server:
        yield server


async def _prepare(server: Server) -> str:
    """The DSN of a migrated database without chains."""
    async with await AsyncConnection.connect(server.dsn, autocommit=True) as admin:
        await admin.execute("CREATE DATABASE flagpost")
    dsn = make_conninfo(server.dsn, dbname="flagpost")
    await migrate(dsn)
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("DELETE FROM asset_on_chain; DELETE FROM chains")
    return dsn


@pytest.mark.parametrize("way", ["one address", "two hosts"])
async def test_a_failover_to_a_standby_that_takes_no_writes_at_first(
    primary: Server, standby: Server, zygote: Zygote, home: Path, way: str
) -> None:
    """By one address that leads to another server afterwards, or by the names of both: the standby first."""
    before, after = (make_conninfo(server.dsn, dbname="flagpost") for server in (primary, standby))
    async with Proxy(before) as proxy:
        hosts = f"{_host(standby)},{_host(primary)}"
        dsn = proxy.dsn if way == "one address" else make_conninfo(before, host=hosts, port="5432,5432")
        mine = make_conninfo(dsn, target_session_attrs="read-write", connect_timeout=2)
        async with works(dsn, zygote, home, of_world=mine) as pipeline:
            await pipeline.start()
            await pipeline.until_up()
            await pipeline.deposit(3)
            await pipeline.until("SELECT FROM transfers WHERE state IN ('broadcasting', 'included')")
            proxy.lead_to(after)
            primary.stop(signal.SIGQUIT)
            await pipeline.until_said("takes no writes|read-only")
            await asyncio.sleep(READ_ONLY_SECONDS)
            pipeline.check()
            standby.promote()
            promoted = time.monotonic()
            await _again(pipeline, mine)
            (late,) = await pipeline.deposit()
            await pipeline.until(
                "SELECT FROM transfers t JOIN wallets w ON w.id = t.wallet_id JOIN chain_transactions a"
                " ON a.bundle_id = t.bundle_id WHERE w.address = %s",
                late,
            )
            took = time.monotonic() - promoted
            print(f"{way}: a deposit after the promotion was being paid for after {took:.2f} s")  # noqa: T201
            await pipeline.until_arrived()
            await pipeline.judge()
            assert took < RECOVERY_SECONDS
            await pipeline.stop()


async def _again(pipeline: Works, dsn: str) -> None:
    """The test's own session, on whichever server takes writes now."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                pipeline.world.connection = await AsyncConnection.connect(dsn, autocommit=True)
                return
            await asyncio.sleep(0.05)


def _host(server: Server) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(server.dsn)["host"])


ODD = (
    "DateStyle = 'SQL, DMY'", "IntervalStyle = iso_8601", "TimeZone = 'Asia/Kathmandu'", "client_encoding = 'LATIN1'",
    "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on", "row_security = off",
    "statement_timeout = 1", "lock_timeout = 1", "idle_session_timeout = 1", "idle_in_transaction_session_timeout = 1",
    "search_path = ''", "bytea_output = escape", "standard_conforming_strings = off", "transform_null_equals = on",
    "array_nulls = off", "extra_float_digits = -15", "quote_all_identifiers = on", "synchronous_commit = off",
    "plan_cache_mode = force_generic_plan", "enable_indexscan = off", "enable_nestloop = off", "geqo_threshold = 2",
    "exit_on_error = on", "temp_tablespaces = nowhere", "work_mem = '64kB'", "xmloption = document",
    "client_min_messages = debug5", "jit = on", "jit_above_cost = 0",
)  # fmt: skip
"""Each of them ended some process, or made it believe what was not so, before sessions pinned what they depend on."""
END_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'flagpost%'
"""


async def test_a_database_with_the_oddest_settings_that_is_closed_for_writing_now_and_then(
    database: str, zygote: Zygote, home: Path
) -> None:
    """Closed at the start, and while everything runs. A session that began meanwhile would stay read-only for good."""
    closed = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
    opened = sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only")
    async with works(database, zygote, home) as pipeline:
        connection = pipeline.world.connection
        name = sql.Identifier(connection.info.dbname)
        for setting in ODD:
            await connection.execute(sql.SQL("ALTER DATABASE {} SET ").format(name).as_string() + setting)  # type: ignore[arg-type]
        await connection.execute(closed.format(name))
        await pipeline.start()
        await pipeline.until_said("read-only")
        await connection.execute(opened.format(name))
        await pipeline.until_up()
        await pipeline.deposit()
        await pipeline.until_arrived()
        await connection.execute(closed.format(name))
        size = len(pipeline.said)
        await connection.execute(END_ALL)
        async with asyncio.timeout(PATIENCE):
            while "read-only" not in pipeline.said[size:]:  # noqa: ASYNC110 - the log has no signal
                await asyncio.sleep(0.05)
        await asyncio.sleep(READ_ONLY_SECONDS / 2)
        pipeline.check()
        await connection.execute(opened.format(name))
        await pipeline.deposit()
        await pipeline.until_arrived()
        await pipeline.judge()
        await pipeline.stop()


@pytest.mark.skipif(not FAKETIME.exists(), reason="apt-get install libfaketime")
async def test_the_clock_of_the_database_is_wrong_for_a_while(zygote: Zygote, home: Path) -> None:
    """Ahead, right, behind, right. What was read, flagged, queued and sent meanwhile has times that lie far away:
    nothing waits for them, neither what is paid nor a wallet in which nothing happens."""
    with temporary_home() as path, Server(path, clock=True) as server:
        dsn = await _prepare(server)
        async with works(dsn, zygote, home) as pipeline:
            quiet = await pipeline.world.wallet(trx=50 * TRX)
            await pipeline.start()
            await pipeline.until_up()
            for offset in ("+400d", "-400d"):
                server.set_clock(offset)
                await pipeline.until("SELECT WHERE abs(extract(epoch FROM now() - %s)) > 3600", datetime.now(UTC))
                await pipeline.deposit()
                await asyncio.sleep(WRONG_SECONDS)
                server.set_clock("+0")
                await pipeline.until("SELECT WHERE abs(extract(epoch FROM now() - %s)) < 600", datetime.now(UTC))
                corrected = datetime.now(UTC)
                await pipeline.deposit()
                await pipeline.until_arrived()
                await pipeline.until(
                    "SELECT WHERE NOT EXISTS (SELECT FROM balance_state WHERE wallet_id = %s"
                    " AND last_checked NOT BETWEEN %s AND now())",
                    *(quiet.id, corrected),
                )
            await pipeline.until(
                "SELECT WHERE NOT EXISTS"
                " (SELECT FROM balance_state WHERE next_check_at > now() + interval '2 hours')"
                " AND NOT EXISTS (SELECT FROM wallets WHERE wanted_since > now() + interval '1 minute')"
                " AND NOT EXISTS (SELECT FROM worker_registry WHERE last_heartbeat > now() + interval '1 minute')"
            )
            await pipeline.judge()
            await pipeline.stop()
