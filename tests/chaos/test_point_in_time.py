"""A base backup and a restore to a point in time while payments are out, by the very commands of docs/operating.md.

What was paid after that time is not paid again, and every wallet is right in the end.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from pipeline.db.migrate import migrate
from pipeline.embedded.binaries import run_as, server_binaries, server_user
from pipeline.embedded.cluster import initialize
from tests.chaos.database import prepare
from tests.chaos.evm_ground import EvmGround, evm_ground
from tests.chaos.fleet import Process, Zygote
from tests.chaos.ground import Ground
from tests.chaos.invariants import Verdict, check_topups, check_treasury, judge_chain, judge_queue
from tests.chaos.psql import Psql
from tests.chaos.rest import at_rest
from tests.chaos.tron_ground import TronGround, tron_ground
from tests.chaos.world import MNEMONIC
from tests.conftest import temporary_home
from tests.patience import PATIENCE
from tests.policy import write_policy

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
KINDS = ("sync", "gas-topup", "consolidation", "confirmations", "sweep")
DEPOSIT = 250
SERVER = """
listen_addresses = ''
port = 5432
fsync = off
max_connections = 100
shared_buffers = 32MB
timezone = 'UTC'
"""
CONFIGURATION = {
    "heartbeat_seconds": "1", "sweep.interval_seconds": "2", "sweep.grace_seconds": "0.5", "sync.idle_seconds": "1",
    "queue.backoff_base_seconds": "0.2", "queue.backoff_cap_seconds": "1", "queue.quiet_seconds": "2",
    "queue.deadline_seconds": "5",
}  # fmt: skip
OPEN = (
    "SELECT id, chain_id, kind, state, wallet_id, created_at FROM transfers WHERE state <> 'final'",
    "SELECT job_id, status, run_at, error_message FROM job_logs WHERE status NOT IN ('completed', 'cancelled')",
    "SELECT id, chain_id, wanted_job, wanted_since FROM wallets WHERE wanted_job IS NOT NULL",
    "SELECT wallet_id, processing_status, recheck FROM wallet_balances WHERE recheck OR processing_status <> 'idle'",
)
"""What is asked about what does not come to rest."""
OUT = "SELECT id FROM transfers WHERE state IN ('broadcasting', 'included') AND chain_id = %s"
MOVED = """
SELECT t.id FROM transfers t JOIN wallets w ON w.id = t.wallet_id
WHERE w.address = %s AND t.kind = %s AND t.state = 'final'
"""
LATE = (6, 7)
"""Wallets that get their first gas right after the time that is restored."""


def commands() -> tuple[str, str, str]:
    """Of the manual's section: what archives, what backs up, what restores."""
    section = PAGE.read_text(encoding="utf-8").split("### Back up and restore\n")[1].split("\n### ")[0]
    archive, backup, restore = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return archive, backup, restore


class Cluster:
    """A server as an administrator has one: a data directory and ``pg_ctl``."""

    def __init__(self, root: Path) -> None:
        self._account = server_user(root)
        self._binaries = server_binaries(self._account)
        self._root = root / "server"
        self._root.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(self._root, self._account.uid, self._account.gid)
        self.data = self._root / "data"
        initialize(self._binaries, self.data, self._account, sync=False)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(f"{SERVER}unix_socket_directories = '{self._root}'\n")
        self.pg_ctl("start", "-l", f"{self.data}.log")

    @property
    def dsn(self) -> str:
        return make_conninfo(host=str(self._root), port="5432", user="postgres", dbname="postgres")

    def pg_ctl(self, *words: str) -> None:
        # Its output goes to files: a server that it starts would keep a pipe open.
        self.run(" ".join(["pg_ctl", '-D "$PGDATA"', "-w", *words]))

    def run(self, script: str, target: str = "") -> None:
        """As the account of the server, in a shell that ends at the first error."""
        account = self._account
        environment = {
            "PATH": f"{self._binaries}:{os.defpath}",
            "LC_ALL": "C",
            "PGHOST": str(self._root),
            "PGPORT": "5432",
            "PGUSER": "postgres",
            "PGDATA": str(self.data),
            "BACKUPS": str(self._root / "backups"),
            "TARGET": target,
        }
        said = self._root.with_suffix(".said")
        with said.open("wb") as output:
            done = subprocess.run(
                ["/bin/bash", "-euc", script],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                timeout=PATIENCE,
            )
        assert done.returncode == 0, said.read_text(errors="replace")

    def close(self) -> None:
        run_as(self._account, self._binaries / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with temporary_home() as path:
        made = Cluster(path)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


@dataclass(eq=False)
class Drill:
    """Two chains, the processes, and a person's session."""

    zygote: Zygote
    dsn: str
    home: Path
    psql: Psql
    grounds: dict[str, Ground]
    processes: list[Process] = field(default_factory=list)

    async def start(self) -> None:
        for kind in KINDS:
            env = {"DATABASE_URL": self.dsn, "FLAGPOST_HOME": str(self.home)}
            if kind in ("gas-topup", "consolidation"):
                env["FLAGPOST_MNEMONIC"] = MNEMONIC
            self.processes.append(await self.zygote.start(kind, env, self.log))

    async def stop(self) -> None:
        """At once: whatever they were doing stays as it is."""
        for process in self.processes:
            process.kill(signal.SIGKILL)
        for process in self.processes:
            await process.status
        self.processes = []

    async def deposit(self, *wallets: int) -> None:
        for ground in self.grounds.values():
            for wallet in wallets:
                await ground.deposit(wallet, DEPOSIT)

    @contextlib.asynccontextmanager
    async def payments_out(self) -> AsyncIterator[None]:
        """Payments are on their way on every chain, and no block is made while the block runs."""
        tron, bsc = self.grounds["tron"], self.grounds["bsc"]
        assert isinstance(tron, TronGround)
        assert isinstance(bsc, EvmGround)

        async def tron_stands() -> None:
            await self.until(OUT, tron.chain_id)
            tron.network.paused = True

        async def bsc_stands() -> None:
            await self.until(OUT, bsc.chain_id)
            bsc.standing += 1

        await asyncio.gather(tron_stands(), bsc_stands())
        for ground in self.grounds.values():
            assert await self.psql.ask(OUT, ground.chain_id), f"nothing is out on {ground.name}"
        yield
        tron.network.paused = False
        bsc.standing -= 1

    async def remove(self, *wallets: int) -> None:
        for ground in self.grounds.values():
            for wallet in wallets:
                address = ground.wallets[wallet].address
                await self.psql.ask("DELETE FROM wallets WHERE address = %s", address)

    async def add(self, *wallets: int) -> None:
        """As new ones that need gas."""
        for ground in self.grounds.values():
            rows = [
                (ground.chain_id, ground.wallets[one].address, ground.wallets[one].derivation_index) for one in wallets
            ]
            chains, addresses, indices = (list(column) for column in zip(*rows, strict=True))
            await self.psql.ask(
                "INSERT INTO wallets (chain_id, address, derivation_index, needs_gas)"
                " SELECT c, a, i, true FROM unnest(%s::integer[], %s::text[], %s::integer[]) AS t (c, a, i)",
                *(chains, addresses, indices),
            )

    async def until(self, query: str, *parameters: object) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.psql.ask(query, *parameters):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            said = self.log.read_text(errors="replace")[-6000:]
            raise AssertionError(f"never: {query}\n{said}") from None

    async def until_at_rest(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not await at_rest(self.psql, self.grounds):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        except TimeoutError:
            said = self.log.read_text(errors="replace")[-6000:]
            raise AssertionError(f"never at rest: {[await self.psql.ask(query) for query in OPEN]}\n{said}") from None

    async def txids(self, ground: Ground) -> set[str]:
        """Of the transactions that the records know."""
        rows = await self.psql.ask("SELECT txid FROM chain_transactions WHERE chain_id = %s", ground.chain_id)
        return {row["txid"] for row in rows}

    @property
    def log(self) -> Path:
        return self.home / "processes.log"


@pytest.fixture
async def drill(cluster: Cluster, zygote: Zygote, home: Path) -> AsyncIterator[Drill]:
    dsn = make_conninfo(cluster.dsn, dbname="flagpost")
    async with AsyncExitStack() as stack:
        async with await AsyncConnection.connect(cluster.dsn, autocommit=True) as admin:
            await admin.execute("CREATE DATABASE flagpost")
        await migrate(dsn)
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("DELETE FROM asset_on_chain; DELETE FROM chains")
            for key, value in CONFIGURATION.items():
                await connection.execute("INSERT INTO system_config (key, value) VALUES (%s, %s)", [key, value])
            prepare(dsn, lazy_commits=False)
            grounds: dict[str, Ground] = {
                "tron": await stack.enter_async_context(tron_ground(connection, "127.0.0.1")),
                "bsc": await stack.enter_async_context(evm_ground(connection, "127.0.0.1")),
            }
        write_policy(home, *(ground.policy for ground in grounds.values()))
        made = Drill(zygote, dsn, home, await stack.enter_async_context(Psql(dsn)), grounds)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()


async def test_a_restore_to_a_time_before_payments_that_landed(cluster: Cluster, drill: Drill) -> None:
    archive, backup, restore = commands()
    await asyncio.to_thread(cluster.run, archive)
    await drill.remove(*LATE)
    await drill.deposit(0, 1)
    await drill.start()
    async with drill.payments_out():
        await asyncio.to_thread(cluster.run, backup)
    await drill.until_at_rest()
    await drill.deposit(2, 3)
    async with drill.payments_out():
        await drill.add(*LATE)
        (row,) = await drill.psql.ask("SELECT clock_timestamp()::text AS target")
    await drill.deposit(4, 5)
    # Gas and tokens have moved: the restored records know nothing of it.
    for ground in drill.grounds.values():
        await drill.until(MOVED, ground.wallets[4].address, "consolidation")
        for late in LATE:
            await drill.until(MOVED, ground.wallets[late].address, "gas")
    await drill.stop()
    before = {name: await drill.txids(ground) for name, ground in drill.grounds.items()}

    begun = time.monotonic()
    await asyncio.to_thread(cluster.run, restore, row["target"])
    await drill.until("SELECT now() WHERE NOT pg_is_in_recovery()")
    restored = time.monotonic() - begun
    lost = {name: before[name] - await drill.txids(ground) for name, ground in drill.grounds.items()}
    # As the section says for TRON. On BSC what is out lands whenever it lands.
    await drill.grounds["tron"].let_time_pass()
    await drill.grounds["tron"].finalize()
    await drill.start()
    await drill.until_at_rest()
    print(f"restored in {restored:.1f} s, all done {time.monotonic() - begun:.1f} s after the stop")  # noqa: T201
    # A payment that is missing is looked for when its sender is to pay again: all of them are.
    await drill.deposit(*range(len(drill.grounds["bsc"].wallets)))
    await drill.until_at_rest()
    await judge(drill, lost)


async def judge(drill: Drill, lost: Mapping[str, set[str]]) -> None:
    """``lost``: transactions that the restored records did not know."""
    tron, bsc = drill.grounds["tron"], drill.grounds["bsc"]
    for ground in (tron, bsc):
        await ground.finalize()
        ledger = await ground.ledger()
        gone = [one for one in ledger.topups if one.txid in lost[ground.name]]
        late = {ground.wallets[one].address for one in LATE}
        assert {one.wallet for one in gone} >= late, "not the time that was meant"
        assert lost[ground.name] & {one.txid for one in ledger.ours} > {one.txid for one in gone}, "no consolidation"
    assert (await judge_queue(drill.psql)).problems == []
    # Found by its nonces: every payment is recorded.
    assert (await judge_chain(bsc, drill.psql)).problems == []
    # Here they are not found, and not made again: each wallet is right, and only what was lost has no row.
    ledger, verdict = await tron.ledger(), Verdict()
    check_topups(ledger, tron.topup_ceiling, verdict)
    check_treasury(ledger, tron.token, verdict)
    assert verdict.problems == []
    assert {one.txid for one in ledger.ours} - await drill.txids(tron) <= lost["tron"]
