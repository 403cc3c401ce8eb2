"""The version before is at work while its database is migrated, with jobs and payments in flight; this one goes on with
what it left. The chain says what was paid.

The old processes are the real ones, of the commit that this version follows: without the repository's history there is
nothing to run.
"""

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg import AsyncConnection, sql

from pipeline.db.migrate import migrate
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from tests.chaos.fleet import Zygote
from tests.chaos.trial import BLOCK_SECONDS, SOLID_LAG
from tests.chaos.world import MNEMONIC, World
from tests.databases import fresh_database
from tests.patience import PATIENCE
from tests.policy import write_policy
from tests.seed import TRX, USDT, Wallet

WITHOUT_CLAIMS = ("30fa9e85", 7)
"""The last commit whose migrations end with 0007: its processes do not outlive a migration."""
WITHOUT_CONTROL = ("39d29e1", 13)
"""The last commit before workers could be told what to do: its processes go on after a migration."""
ROOT = Path(__file__).parents[2]
DEPOSIT = 250 * USDT
PAUSED_SECONDS = 3.0
UNSETTLED = """
SELECT FROM wallets WHERE needs_gas OR needs_consolidation
UNION ALL SELECT FROM transfers WHERE state NOT IN ('final', 'rejected')
UNION ALL SELECT FROM job_logs WHERE status NOT IN ('completed', 'failed')
"""


@pytest.fixture(scope="module")
def before(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The sources of the version before, and the number of its last migration."""
    commit, version = request.param
    command = ["git", "archive", commit, "pipeline", "sql", "triggers"]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        pytest.skip(f"the repository's history is not here: {packed.stderr.decode().strip()}")
    place = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place, version


class Old:
    """Processes of the version before."""

    def __init__(self, sources: Path, dsn: str, home: Path) -> None:
        self._sources = sources
        self._env = os.environ | {
            "PYTHONPATH": str(sources),
            "DATABASE_URL": dsn,
            "FLAGPOST_HOME": str(home),
            "FLAGPOST_MNEMONIC": MNEMONIC,
            "FLAGPOST_POLICY_FILE": str(home / "policy.toml"),
        }
        self._log = home / "old.log"
        self.started: list[asyncio.subprocess.Process] = []

    async def run(self, *arguments: str, crash_point: str = "") -> asyncio.subprocess.Process:
        """``flagpost`` with these arguments."""
        code = "import sys; from pipeline.cli.main import run; sys.exit(run())"
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                code,
                *arguments,
                cwd=self._sources,
                env=self._env | {"FLAGPOST_CRASH_POINT": crash_point},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    async def end(self) -> None:
        """Those that did not end by themselves."""
        for process in self.started:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
async def installed(before: tuple[Path, int], server_dsn: str, tmp_path: Path) -> AsyncIterator[tuple[World, Old, str]]:
    """A chain and a database as the version before made it."""
    options = DevnetOptions(block_time=BLOCK_SECONDS, solid_lag=SOLID_LAG)
    with fresh_database(server_dsn) as dsn:
        old = Old(before[0], dsn, tmp_path)
        assert await (await old.run("migrate")).wait() == 0, old.said()
        async with (
            running(options) as network,
            DevnetClient(network.main.url) as devnet,
            await AsyncConnection.connect(dsn, autocommit=True) as connection,
        ):
            versions = await connection.execute("SELECT max(version) FROM schema_migrations")
            assert await versions.fetchone() == (before[1],), "this is not the version before"
            for shipped in ("asset_on_chain", "chains"):
                await connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(shipped)))
            world = await World.create(connection, devnet)
            write_policy(tmp_path, world.policy(), name="policy.toml")
            yield world, old, dsn
            await old.end()


@pytest.mark.parametrize("before", [WITHOUT_CLAIMS], indirect=True)
async def test_an_upgrade_with_jobs_and_payments_in_flight(installed: tuple[World, Old, str], tmp_path: Path) -> None:
    world, old, dsn = installed
    thirsty = [await world.wallet(usdt=DEPOSIT) for _ in range(3)]
    ready = [await world.wallet(usdt=DEPOSIT, trx=50 * TRX) for _ in range(3)]
    await world.devnet.mine(2 * SOLID_LAG)

    # One dies between the commits, one with bytes that nobody has sent; another one lives on.
    await flag(world, thirsty[0])
    asked = await old.run("gas-topup", crash_point="request.after")
    assert await asked.wait() == -signal.SIGKILL, old.said()
    await flag(world, ready[0])
    kept = await old.run("consolidation", crash_point="broadcast.after")
    assert await kept.wait() == -signal.SIGKILL, old.said()
    await old.run("confirmations")
    await old.run("consolidation")
    await flag(world, ready[1])
    await until(world, "SELECT FROM transfers WHERE state NOT IN ('requested', 'broadcasting') HAVING count(*) > 0")

    await migrate(dsn)
    for wallet in (thirsty[1], ready[2]):
        await flag(world, wallet)
    env = {"DATABASE_URL": dsn, "FLAGPOST_HOME": str(tmp_path), "FLAGPOST_POLICY_FILE": str(tmp_path / "policy.toml")}
    async with Zygote() as zygote:
        for kind in ("gas-topup", "consolidation", "confirmations"):
            await zygote.start(kind, env | {"FLAGPOST_MNEMONIC": MNEMONIC}, tmp_path / f"{kind}.log")
        await world.rows(
            "UPDATE worker_registry SET status = 'stopped', ended_at = now() WHERE pid = ANY (%s) RETURNING id",
            [asked.pid],
        )
        await until_settled(world)
    await world.assert_database_equals_chain()
    swept = sorted(one.sender for one in await world.swept())
    assert swept == sorted(wallet.address for wallet in (*thirsty[:2], *ready))
    assert sorted(one.receiver for one in await world.paid_gas()) == sorted(one.address for one in thirsty[:2])


@pytest.mark.parametrize("before", [WITHOUT_CONTROL], indirect=True)
async def test_workers_of_both_versions_on_the_new_schema(installed: tuple[World, Old, str], tmp_path: Path) -> None:
    """The old ones go on after the migration, are seen and paused by their status, and end one by one."""
    world, old, dsn = installed
    wallets = [await world.wallet(usdt=DEPOSIT) for _ in range(6)]
    await world.devnet.mine(2 * SOLID_LAG)
    kinds = ("gas-topup", "consolidation", "confirmations", "sweep")
    olds = {kind: await old.run(kind) for kind in kinds}
    await until(world, "SELECT FROM worker_registry WHERE status = 'running' HAVING count(*) = 4")
    await flag(world, wallets[0])
    await until(world, "SELECT FROM transfers WHERE state IN ('broadcasting', 'included', 'final')")

    await migrate(dsn)
    await flag(world, wallets[1])
    await until_settled(world)
    assert len(await world.swept()) == 2, f"the old ones did not go on\n{old.said()[-3000:]}"
    await until(
        world,
        "SELECT FROM worker_registry WHERE status = 'running' AND observed_generation IS NULL"
        " AND last_heartbeat > now() - interval '15 seconds' HAVING count(*) = 4",
    )
    paused = "UPDATE worker_registry SET status = %s WHERE type = 'gas-topup' RETURNING id"
    await world.rows(paused, "paused")
    async with asyncio.timeout(PATIENCE):
        while "gas-topup: paused by an operator" not in old.said():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await flag(world, wallets[2])
    await asyncio.sleep(PAUSED_SECONDS)
    assert len(await world.paid_gas()) == 2, "nobody who may pay gas is awake"
    await world.rows(paused, "running")
    await until_settled(world)

    env = {"DATABASE_URL": dsn, "FLAGPOST_HOME": str(tmp_path), "FLAGPOST_POLICY_FILE": str(tmp_path / "policy.toml")}
    async with Zygote() as zygote:
        for wallet, kind in zip(wallets[3:], kinds, strict=False):
            await zygote.start(kind, env | {"FLAGPOST_MNEMONIC": MNEMONIC}, tmp_path / f"{kind}.log")
            query = "SELECT FROM worker_registry WHERE type = %s AND status = 'running' AND observed_generation >= 0"
            await until(world, query, kind)
            await flag(world, wallet)
            olds[kind].terminate()
            assert await olds[kind].wait() == 0, old.said()[-3000:]
        await until_settled(world)
    await world.assert_database_equals_chain()
    addresses = sorted(one.address for one in wallets)
    assert sorted(one.sender for one in await world.swept()) == addresses
    assert sorted(one.receiver for one in await world.paid_gas()) == addresses
    ended = [word for word in ("Traceback", "CRITICAL") if word in old.said()]
    assert not ended, old.said()[-6000:]


async def flag(world: World, wallet: Wallet) -> None:
    """As the balance sync does."""
    await world.flag(wallet, gas=not await has_coins(world, wallet), consolidation=True)


async def has_coins(world: World, wallet: Wallet) -> bool:
    return await world.devnet.balance(wallet.address) >= 5 * TRX


async def until(world: World, query: str, *parameters: object) -> None:
    """Until a question has an answer."""
    async with asyncio.timeout(PATIENCE):
        while not await world.rows(query, *parameters):  # noqa: ASYNC110 -- the processes of two versions have no signal in common
            await asyncio.sleep(0.05)


async def until_settled(world: World) -> None:
    """Until nothing of money is unfinished; on the way jobs of the dead are taken over, as the sweep does."""
    async with asyncio.timeout(2 * PATIENCE):
        while await world.rows(UNSETTLED):
            await world.rows("SELECT rescue_jobs('1 hour', '0 seconds')")
            await asyncio.sleep(0.1)
