"""A whole installation whose payments are measured: its network, its database, and the processes that pay.

Everything goes through stable doors: the processes are those that the Procfile launches, flags are raised by UPDATE as
in psql, and what became of them is read from the tables and from the chain. The node is reached through
bench/node_proxy.py, which counts what it is asked. The sync does not run: it raises flags, and here the measure does.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import psutil
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from bench import children
from bench.bench import Incomplete
from bench.children import Child
from bench.contestants import ROOT
from bench.stand import Server
from bench.statements import text
from pipeline.db.statements import statement
from pipeline.local.anvil import BNB
from pipeline.local.audit import Intended, audit
from pipeline.local.procfile import Phase
from pipeline.local.seed import Seed
from pipeline.local.stand import Stand, open_stand
from pipeline.local.tron import TRX, TronNetwork
from pipeline.units import parse_raw

PAYING = ("gas-topup", "consolidation", "confirmations")
"""The lines of the Procfile that take part in a payment."""
SOLID_LAG = 2
TOKENS = 300
"""Of a wallet that is consolidated."""
COINS = {"tron": 50 * TRX, "bsc": BNB // 100}
"""Of such a wallet, for the fee."""
GAS_FUNDS = {"tron": 100_000 * TRX, "bsc": 1_000 * BNB}
ANSWER_WITHIN = 10.0
ASK_EVERY = 0.1
COINS_A_CALL = 500


@dataclass(frozen=True)
class Wallet:
    """One deposit wallet."""

    id: UUID
    address: str
    for_gas: bool
    """It has nothing and gets gas; else it has tokens and gas, and they go to the treasury."""


@dataclass(frozen=True)
class Paid:
    """One payment; seconds since 1970."""

    kind: str
    """``gas`` or ``consolidation``."""
    flagged: float
    broadcast: float
    completed: float


@dataclass(frozen=True)
class Used:
    """CPU seconds so far."""

    postgres: float
    payers: float
    node: float


@dataclass
class Installation:
    """One chain, its processes running or not."""

    stand: Stand
    server: Server
    proxy: Child
    admin: AsyncConnection[dict[str, Any]]
    wallets: list[Wallet] = field(default_factory=list)
    """Not used yet; alternately for gas and for consolidation."""
    paid_for: list[Wallet] = field(default_factory=list)

    @property
    def chain(self) -> str:
        """``tron`` or ``bsc``."""
        return self.stand.seeded.network.chain

    def take(self, count: int) -> list[Wallet]:
        """Wallets that nobody has flagged yet."""
        taken, self.wallets = self.wallets[:count], self.wallets[count:]
        if len(taken) < count:
            raise ValueError(f"{count} wallets are wanted, {len(taken)} are left")
        self.paid_for += taken
        return taken

    async def start(self, processes: int) -> None:
        """So many of each process that pays; those that ran before are stopped first."""
        await self.stand.fleet.stop(Phase.WORK)
        await self.stand.start_workers(processes, only=PAYING)

    async def node(self, delay: float, per_second: int | None) -> None:
        """How the node answers from now on."""
        self.proxy.tell(f'{{"delay": {delay}, "per_second": {"null" if per_second is None else per_second}}}')
        await self.proxy.expect("set", ANSWER_WITHIN)

    async def node_calls(self) -> dict[str, Any]:
        """The proxy's counts since the last call of this."""
        self.proxy.tell('{"report": true}')
        report: dict[str, Any] = await self.proxy.expect("report", ANSWER_WITHIN)
        return report

    async def flag(self, wallets: Sequence[Wallet]) -> float:
        """Raise their flags in one commit; when that began, in seconds since 1970."""
        now = time.time()
        gas = [wallet.id for wallet in wallets if wallet.for_gas]
        ids = [wallet.id for wallet in wallets]
        await self.admin.execute(text("flagpost/raise_flags"), {"gas": gas, "wallets": ids})
        return now

    async def unpaid(self, wallets: Sequence[Wallet]) -> int:
        """How many of them have something left to do. Raises ProcessEnded."""
        self.stand.fleet.check()
        cursor = await self.admin.execute(text("flagpost/unpaid"), {"wallets": [wallet.id for wallet in wallets]})
        row = await cursor.fetchone()
        return int(row["count"]) if row else 0

    async def payments(self, flagged: dict[UUID, float]) -> list[Paid]:
        """One for each wallet, by its time of the flag. Raises Incomplete for anything else."""
        cursor = await self.admin.execute(text("flagpost/first_broadcasts"), {"wallets": list(flagged)})
        rows = await cursor.fetchall()
        wrong = [row for row in rows if (row["state"], row["status"]) != ("final", "completed")]
        if wrong or len({row["wallet_id"] for row in rows}) != len(rows) or len(rows) != len(flagged):
            failures = await (await self.admin.execute(statement("demo/failures"))).fetchall()
            raise Incomplete(f"{len(rows)} payments for {len(flagged)} flags, {len(wrong)} not final: {failures}")
        return [Paid(row["kind"], flagged[row["wallet_id"]], row["broadcast_at"], row["completed_at"]) for row in rows]

    def used(self) -> Used:
        """By Postgres, by the processes that pay and by the network."""
        seconds = {name.partition(".")[0]: 0.0 for name in self.stand.fleet.pids}
        for name, pid in self.stand.fleet.pids.items():
            seconds[name.partition(".")[0]] += float(sum(psutil.Process(pid).cpu_times()[:2]))
        return Used(self.server.cpu_seconds(), sum(seconds.get(name, 0.0) for name in PAYING), seconds[self.chain])

    async def check(self, *, whole: bool = True) -> None:
        """Compare the chain with the database: nothing was paid twice, or that no transfer asked for; ``whole``: and
        each wallet that was flagged was paid for, once. Raises Incomplete."""
        seeded = self.stand.seeded
        movements = await seeded.network.movements()
        rows = await (await self.admin.execute(statement("demo/payments"))).fetchall()
        intended = [
            Intended(
                row["txid"],
                row["transfer_id"],
                row["contract_address"],
                row["from_address"],
                row["to_address"],
                parse_raw(row["amount"]),
            )
            for row in rows
        ]
        own = {*seeded.customers, seeded.gas, seeded.treasury}
        found = audit(movements, intended, own=own, treasury=seeded.treasury, token=seeded.token)
        topped_up = [one.receiver for one in movements if one.sender == seeded.gas and one.contract is None]
        moved = [one.sender for one in movements if one.contract == seeded.token and one.receiver == seeded.treasury]
        lacking = whole and sorted([*topped_up, *moved]) != sorted(one.address for one in self.paid_for)
        if found.double_payments or lacking:
            raise Incomplete(
                f"the chain has {len(topped_up)} top-ups and {len(moved)} consolidations of {len(self.paid_for)} "
                f"flags; wrong are: {found.faults}"
            )


@asynccontextmanager
async def installed(
    home: Path, server: Server, chain: str, wallets: int, block_time: float
) -> AsyncIterator[Installation]:
    """A fresh network and database with so many wallets, funded and final; no process runs yet."""
    terms = Seed(
        wallets=wallets,
        gas_policy="threshold",
        sync_interval=timedelta(days=1),
        block_time=timedelta(seconds=block_time),
        gas_cooldown=timedelta(minutes=10),
        gas_funds=GAS_FUNDS,
    )
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(
            open_stand(home, terms, chains=(chain,), server=server.dsn, block_time=block_time, solid_lag=SOLID_LAG)
        )
        proxy = await stack.enter_async_context(
            children.child(
                [sys.executable, "-m", "bench.node_proxy", stand.seeded.network.url],
                "node proxy",
                cwd=ROOT,
                env=dict(os.environ),
            )
        )
        url = await proxy.expect("url", ANSWER_WITHIN)
        admin = await stack.enter_async_context(
            await AsyncConnection.connect(stand.dsn, autocommit=True, row_factory=dict_row)
        )
        nodes = Jsonb([{"url": url}])
        await admin.execute("UPDATE chains SET nodes = %s WHERE id = %s", [nodes, stand.seeded.chain_id])
        installation = Installation(stand, server, proxy, admin)
        rows = await (await admin.execute("SELECT id, address FROM wallets ORDER BY derivation_index")).fetchall()
        installation.wallets = [Wallet(row["id"], row["address"], number % 2 == 0) for number, row in enumerate(rows)]
        await fund(stand, [wallet.address for wallet in installation.wallets if not wallet.for_gas])
        await admin.execute("VACUUM (ANALYZE)")
        yield installation


async def fund(stand: Stand, addresses: Sequence[str]) -> None:
    """Tokens to consolidate and coins for the fee; final on return."""
    seeded = stand.seeded
    network, tokens = seeded.network, TOKENS * int("1" + "0" * seeded.network.token_decimals)
    coins = COINS[network.chain]
    if isinstance(network, TronNetwork):
        for address in addresses:
            await network.client.faucet(address, coins)
            await network.client.send_token(seeded.token, address, tokens)
        await network.client.solidify()
        return
    for address in addresses:
        await network.deposit(seeded.token, address, tokens)
    async with aiohttp.ClientSession() as session:
        for first in range(0, len(addresses), COINS_A_CALL):
            calls = [
                {"jsonrpc": "2.0", "id": number, "method": "anvil_setBalance", "params": [address, hex(coins)]}
                for number, address in enumerate(addresses[first : first + COINS_A_CALL])
            ]
            async with session.post(network.url, json=calls) as reply:
                await reply.read()
    last = addresses[-1]
    while not await network.balance(last, seeded.token, final=True) or not await network.balance(last, final=True):
        await network.ready()
