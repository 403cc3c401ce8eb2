"""Everything at once and at random: many wallets, two processes of each kind, SIGKILLs, faults, forks.

Ten seconds by default; FLAGPOST_CHAOS_SECONDS makes it as long as wanted, FLAGPOST_CHAOS_SEED repeats one.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

from psycopg import AsyncConnection

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.faults import FaultKind
from pipeline.devnet.server import DevnetOptions, running
from pipeline.transfers.crashpoints import CrashPoint
from tests.chaos.fleet import Process, Zygote
from tests.chaos.trial import BLOCK_SECONDS
from tests.chaos.world import LIFETIME_SECONDS, MNEMONIC, Rules, World
from tests.databases import fresh_database
from tests.seed import USDT

SECONDS = float(os.environ.get("FLAGPOST_CHAOS_SECONDS", "10"))
SEED = int(os.environ.get("FLAGPOST_CHAOS_SEED", str(random.randrange(10**6))))
WALLETS = 12
KINDS = ("gas-topup", "consolidation", "confirmations")
SETTLED_WITHIN = 60.0
FAULTS = [
    FaultKind.LOST_REPLY,
    FaultKind.LOST_REQUEST,
    FaultKind.LATE_REPLY,
    FaultKind.LATE_REQUEST,
    FaultKind.DUPLICATED,
    FaultKind.FALSE_TXID,
    FaultKind.SWALLOWED,
    FaultKind.SERVER_BUSY,
    FaultKind.TOO_MANY,
    FaultKind.SUSPENDED,
    FaultKind.HTML,
]


class Storm:
    """The world, its processes and what is thrown at them."""

    def __init__(self, world: World, zygote: Zygote, dsn: str, home: Path) -> None:
        self.world = world
        self.zygote = zygote
        self.dsn = dsn
        self.home = home
        self.random = random.Random(SEED)
        self.processes: list[Process] = []
        self.deposits: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    async def start(self, kind: str, *, calm: bool = False) -> None:
        env = {"DATABASE_URL": self.dsn, "FLAGPOST_LOG_LEVEL": "DEBUG", "FLAGPOST_HOME": str(self.home)}
        if kind != "confirmations":
            env["FLAGPOST_MNEMONIC"] = MNEMONIC
        if not calm and self.random.random() < 0.6:
            env["FLAGPOST_CRASH_POINT"] = f"{self.random.choice(list(CrashPoint))}:{self.random.randint(1, 4)}"
        self.processes.append(await self.zygote.start(kind, env, self.home / "storm.log"))

    async def mind_the_dead(self, *, calm: bool = False) -> None:
        for process in [one for one in self.processes if one.status.done()]:
            self.processes.remove(process)
            assert process.status.result() == -signal.SIGKILL, self.post_mortem(process)
            self.counts["kills"] += 1
            await self.world.rows(
                "UPDATE worker_registry SET status = 'stopped' WHERE pid = %s RETURNING id", process.pid
            )
            await self.start(process.kind, calm=calm)
        await self.world.rows("SELECT rescue_jobs('1 hour', '0 seconds')")
        # Kills use up retries, faster than any real night: dead letters are tried again as an operator would.
        await self.world.rows("SELECT retry_failed_jobs(NULL, 1)")

    def post_mortem(self, process: Process) -> str:
        """Why a process ended that nobody killed, as far as the log says."""
        log = (self.home / "storm.log").read_text()
        return f"seed {SEED}: {process.kind} ended with {process.status.result()}\n{log[-12_000:]}"

    async def act(self) -> None:
        """One blow."""
        devnet, pick = self.world.devnet, self.random.random()
        if pick < 0.35:
            self.random.choice(self.processes).kill()
        elif pick < 0.65:
            kind = self.random.choice(FAULTS)
            path = self.random.choice(["wallet/broadcasthex", "wallet/broadcasthex", "wallet/*", "walletsolidity/*"])
            seconds = self.random.choice([0.1, 0.5])
            await devnet.add_fault(kind, path, count=self.random.randint(1, 3), seconds=seconds, status=502)
            self.counts["faults"] += 1
        elif pick < 0.8:
            await devnet.fork(self.random.randint(1, 2), drop=self.random.random() < 0.5)
            await devnet.forget_txids()
            self.counts["forks"] += 1
        elif pick < 0.9:
            self.counts["dropped"] += await devnet.drop_pending()
            await devnet.forget_txids()
        else:
            wallet = self.random.choice(self.world.wallets)
            amount = self.random.randint(200, 900) * USDT
            await self.world.devnet.send_token(self.world.token, wallet.address, amount)
            self.counts["deposits"] += 1

    async def flag_the_full(self) -> None:
        """What sync and triggers do: flags follow the final balances."""
        for wallet in self.world.wallets:
            held = await self.world.devnet.balance(wallet.address, self.world.token, solid=True)
            if held >= 200 * USDT:
                coins = await self.world.devnet.balance(wallet.address, solid=True)
                await self.world.rows(
                    "UPDATE wallets SET needs_consolidation = true, needs_gas = needs_gas OR %s WHERE id = %s "
                    "AND NOT needs_consolidation RETURNING id",
                    coins < 1_000_000,
                    wallet.id,
                )

    async def at_rest(self) -> bool:
        await self.flag_the_full()
        row = await self.world.row(
            "SELECT (SELECT bool_or(needs_gas OR needs_consolidation) FROM wallets) "
            "OR EXISTS (SELECT FROM transfers WHERE state NOT IN ('final', 'reverted', 'rejected')) AS busy"
        )
        return not row["busy"]

    async def settle(self) -> None:
        """The storm is over: no more blows, and time passes until what is lost for good has expired."""
        await self.world.devnet.clear_faults()
        loop = asyncio.get_running_loop()
        end, next_jump = loop.time() + SETTLED_WITHIN, loop.time() + 5
        while not await self.at_rest():
            await self.mind_the_dead(calm=True)
            if loop.time() > next_jump:
                await self.world.devnet.advance(LIFETIME_SECONDS + 20)
                next_jump = loop.time() + 5
            assert loop.time() < end, f"seed {SEED}: not settled: {await self.open_payments()}"
            await asyncio.sleep(BLOCK_SECONDS)

    async def open_payments(self) -> object:
        return await self.world.rows(
            "SELECT t.id, t.kind, t.state, j.status, j.awaiting_chain, j.error_message FROM transfers t "
            "JOIN job_logs j ON j.id = t.job_id WHERE t.state NOT IN ('final', 'reverted', 'rejected')"
        )


async def test_storm(server_dsn: str, template: str, home: Path) -> None:
    """However wild: what is on the chain is what is on the books, once, and the treasury has all of it."""
    options = DevnetOptions(block_time=BLOCK_SECONDS, solid_lag=4)
    rules = Rules(block_time=timedelta(seconds=BLOCK_SECONDS))
    async with contextlib.AsyncExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn, template, "storm"))
        network = await stack.enter_async_context(running(options))
        devnet = await stack.enter_async_context(DevnetClient(network.main.url))
        connection = await stack.enter_async_context(await AsyncConnection.connect(dsn, autocommit=True))
        zygote = await stack.enter_async_context(Zygote())
        world = await World.create(connection, devnet, rules)
        await connection.execute(
            "INSERT INTO system_config (key, value) VALUES ('queue.quiet_seconds', '0'), "
            "('queue.backoff_base_seconds', '0.2'), ('sweep.interval_seconds', '1')"
        )
        storm = Storm(world, zygote, dsn, home)
        for _ in range(WALLETS):
            await world.wallet(usdt=300 * USDT)
        await devnet.solidify()
        await storm.flag_the_full()
        try:
            for kind in KINDS * 2:
                await storm.start(kind)
            end = asyncio.get_running_loop().time() + SECONDS
            while asyncio.get_running_loop().time() < end:
                await storm.act()
                await storm.mind_the_dead()
                await storm.flag_the_full()
                await asyncio.sleep(storm.random.uniform(0, 0.3))
            for process in storm.processes:
                process.kill()
            await storm.settle()
        finally:
            for process in storm.processes:
                process.kill()
        await devnet.solidify()
        await judge(storm)


async def judge(storm: Storm) -> None:
    """Every final payment of the books stands on the chain once, nothing else does, and no wallet has kept enough to
    be moved."""
    world = storm.world
    said = f"seed {SEED}, {dict(storm.counts)}"
    await world.assert_books_equal_chain()
    keys = await world.rows("SELECT idempotency_key FROM transfers GROUP BY 1 HAVING count(*) > 1")
    assert keys == [], said
    ours = {wallet.address for wallet in world.wallets}
    deposited = Counter[str]()
    for one in await world.devnet.audit():
        if one.contract == world.token and one.receiver in ours:
            deposited[one.receiver] += one.amount
    swept = Counter[str]()
    for one in await world.swept():
        swept[one.sender] += one.amount
    left = {address: deposited[address] - swept[address] for address in deposited}
    assert all(0 <= amount < 200 * USDT for amount in left.values()), f"{said}: {left}"
    assert storm.counts["kills"] > 0, said
    print(said)  # noqa: T201 - what the storm was like is worth seeing with pytest -s
