"""TRON under a run: the simulated network with two nodes, in this process."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection
from pipeline.devnet.audit import payments
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.encoding import base58_address
from pipeline.devnet.faults import Fault, FaultKind
from pipeline.devnet.network import Devnet
from pipeline.devnet.server import DevnetOptions, running
from pipeline.local.audit import Movement
from tests.chaos.blows import WALLETS
from tests.chaos.ground import BLOCK_SECONDS, Ground, described
from tests.chaos.ledger import Landed
from tests.chaos.world import Rules, World
from tests.seed import TRX, USDT

SOLID_LAG = 4
LIFETIME_SECONDS = 20.0
"""Of a transaction, on the chain's clock."""
DEATH_SECONDS = LIFETIME_SECONDS + 20
"""Past which it can be proved dead."""
NODE_TIMEOUT = 2.0
DROP_LOOKS = 160
"""Until there is something pending to be lost: four seconds."""
TOPUP_CEILING = 9 * TRX // 2


@dataclass(eq=False)
class TronGround(Ground):
    network: Devnet
    devnet: DevnetClient
    _standing: int = 0

    async def deposit(self, wallet: int, tokens: int) -> None:
        await self.devnet.send_token(self.token, self.wallets[wallet].address, tokens * USDT)

    async def token_held(self, address: str) -> int:
        return await self.devnet.balance(address, self.token)

    async def coin_held(self, address: str) -> int:
        return await self.devnet.balance(address)

    # -- blows

    def spoil(self, arguments: Mapping[str, Any]) -> Fault:
        """A node misbehaves; the rule says later how often it did."""
        fields = {name: value for name, value in arguments.items() if name not in ("fault", "node")}
        rule = Fault(FaultKind(arguments["fault"]), **fields)
        return list(self.network.nodes.values())[arguments["node"]].faults.add(rule)

    async def away(self, seconds: float) -> None:
        """Every node answers with the page of its load balancer."""
        rules = [node.faults.add(Fault(FaultKind.HTML, status=502)) for node in self.network.nodes.values()]
        await asyncio.sleep(seconds)
        for node, rule in zip(self.network.nodes.values(), rules, strict=True):
            node.faults.rules = [one for one in node.faults.rules if one is not rule]

    async def stale(self, seconds: float) -> bool:
        """The node of first choice is cut off from its peers, and goes on answering."""
        if self.network.main.frozen is not None:
            return False
        self.network.main.freeze()
        await asyncio.sleep(seconds)
        self.network.main.thaw()
        return True

    def fork(self, depth: int, *, drop: bool) -> bool:
        chain = self.network.chain
        depth = min(depth, chain.head.number - chain.solid.number)
        if depth < 1:
            return False
        chain.fork(depth, drop=drop)
        self._forget()
        return True

    async def drop(self) -> bool:
        """The next that wait for a block."""
        for _ in range(DROP_LOOKS):
            if self.network.chain.pending:
                break
            await asyncio.sleep(BLOCK_SECONDS / 8)
        dropped = self.network.chain.drop_pending(list(self.network.chain.pending))
        self._forget()
        return dropped > 0

    async def stand_still(self, seconds: float) -> None:
        """No block, and then the clock is past every expiration."""
        self._standing += 1
        self.network.paused = True
        await asyncio.sleep(seconds)
        self.network.chain.clock.advance(int(DEATH_SECONDS * 1000))
        self._standing -= 1
        self.network.paused = self._standing > 0

    def _forget(self) -> None:
        for node in self.network.nodes.values():
            node.remembered.clear()

    # -- the end

    async def calm(self) -> None:
        self.network.main.thaw()
        self.network.paused = False
        for node in self.network.nodes.values():
            node.faults.clear()
        self._forget()

    async def let_time_pass(self) -> None:
        self.network.chain.clock.advance(int(DEATH_SECONDS * 1000))

    async def finalize(self) -> None:
        await self.devnet.solidify()

    async def landed(self) -> list[Landed]:
        moves: dict[str, list[Movement]] = defaultdict(list)
        for one in payments(self.network.chain.blocks):
            contract, txid = one["contract"], one["txid"]
            moves[txid].append(Movement(txid, contract, one["from"], one["to"], int(one["amount"])))
        return [
            Landed(tx.id, base58_address(tx.owner), receipt.success, receipt.fee, tuple(moves[tx.id]))
            for block in self.network.chain.blocks
            for tx, receipt in zip(block.transactions, block.receipts, strict=True)
        ]


@contextlib.asynccontextmanager
async def tron_ground(connection: Connection, host: str) -> AsyncIterator[TronGround]:
    """The network, described in the database, with funded wallets."""
    options = DevnetOptions(host=host, block_time=BLOCK_SECONDS, solid_lag=SOLID_LAG, extra_nodes=1)
    rules = Rules(block_time=timedelta(seconds=BLOCK_SECONDS), lifetime=timedelta(seconds=LIFETIME_SECONDS))
    async with running(options) as network, DevnetClient(network.main.url) as devnet:
        world = await World.create(connection, devnet, rules)
        nodes = [{"url": node.url, "timeout_seconds": NODE_TIMEOUT} for node in network.nodes.values()]
        await connection.execute(
            "UPDATE chains SET nodes = %s, sync_interval = '2 seconds', gas_max_per_wallet_day = gas_max_per_day "
            "WHERE id = %s",
            [Jsonb(nodes), world.chain_id],
        )
        for _ in range(WALLETS):
            await world.wallet()
        yield TronGround(
            name="tron",
            **described(world),
            topup_ceiling=TOPUP_CEILING,
            network=network,
            devnet=devnet,
        )
