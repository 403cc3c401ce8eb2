"""BSC under a run: anvil, a real EVM node, behind a proxy that misbehaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from pipeline.chains.evm.codec import address as evm_address
from pipeline.db.pool import Connection
from pipeline.local.anvil_proxy import Plan, ProxyFault
from pipeline.local.audit import Movement
from tests.chains.evm.anvil import AnvilError
from tests.chains.provider.evm_network import TRANSFER_TOPIC, EvmNetwork, evm_network
from tests.chaos.blows import WALLETS
from tests.chaos.evm_world import FINNEY, EvmRules, EvmWorld
from tests.chaos.ground import BLOCK_SECONDS, Ground, background, described
from tests.chaos.ledger import Landed
from tests.seed import USDT

GWEI = 10**9
CHEAP, DEAR = GWEI, 12 * GWEI
"""Base fee. First offers go up to the cap, replacements to twice that."""
FEES = {"cap": 8 * GWEI}
GAS_AMOUNT = FINNEY // 2
"""Wei: three or four consolidations."""
EXECUTE_BELOW = FINNEY // 5
TOPUP_CEILING = FINNEY * 2 // 5
NODE_TIMEOUT = 2.0
DROP_LOOKS = 80
"""Until there is something pending to be lost: four seconds."""


@dataclass(eq=False)
class EvmGround(Ground):
    network: EvmNetwork
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    standing: int = 0
    """How many want no block to be made."""
    _dear: int = 0

    async def make_blocks(self) -> None:
        """For ever."""
        node = self.network.node
        while True:
            async with self.making:
                if not self.standing:
                    await node.call("anvil_setNextBlockBaseFeePerGas", hex(DEAR if self._dear else CHEAP))
                    await node.mine()
            await asyncio.sleep(BLOCK_SECONDS)

    async def deposit(self, wallet: int, tokens: int) -> None:
        await self.network.fund(self.wallets[wallet].address, 0, tokens * USDT)

    async def token_held(self, address: str) -> int:
        return await self.network.node.balance(address, self.token, "latest")

    async def coin_held(self, address: str) -> int:
        return await self.network.node.balance(address, None, "latest")

    # -- blows

    def spoil(self, arguments: Mapping[str, Any]) -> Plan:
        """The node misbehaves; ``Plan.left`` says later how often it did."""
        fault, seconds = ProxyFault(arguments["fault"]), arguments.get("seconds")
        return self.network.proxy.plan(fault, arguments["method"], arguments["count"], seconds=seconds)

    async def away(self, seconds: float) -> None:
        """Every node answers with the page of its load balancer."""
        plan = Plan(ProxyFault.HTML, None, None)
        self.network.proxy.plans.insert(0, plan)
        await asyncio.sleep(seconds)
        with contextlib.suppress(ValueError):
            self.network.proxy.plans.remove(plan)

    async def fork(self, *, drop: bool) -> bool:
        """The newest block is replaced by an empty one."""
        async with self.making:
            with contextlib.suppress(AnvilError):  # what was in it may not be taken again
                await self.network.fork_out(1, forget=drop)
        return True

    async def drop(self) -> bool:
        """The next that wait for a block."""
        for _ in range(DROP_LOOKS):
            async with self.making:
                if int((await self.network.node.call("txpool_status"))["pending"], 16):
                    await self.network.node.call("anvil_dropAllTransactions")
                    return True
            await asyncio.sleep(BLOCK_SECONDS / 4)
        return False

    async def stand_still(self, seconds: float) -> None:
        """No block."""
        self.standing += 1
        await asyncio.sleep(seconds)
        self.standing -= 1

    async def dear(self, seconds: float) -> None:
        """Nothing that was offered before is taken."""
        self._dear += 1
        await asyncio.sleep(seconds)
        self._dear -= 1

    # -- the end

    async def calm(self) -> None:
        self.network.proxy.calm()
        self.standing = self._dear = 0

    async def let_time_pass(self) -> None:
        """Nothing here expires."""

    async def finalize(self) -> None:
        async with self.making:
            await self.network.finalize()

    async def landed(self) -> list[Landed]:
        found = []
        for number in range(1, await self.network.node.height() + 1):
            block = await self.network.node.call("eth_getBlockByNumber", hex(number), True)
            for one in block["transactions"]:
                found.append(await self._landed(one))
        return found

    async def _landed(self, one: Mapping[str, Any]) -> Landed:
        receipt = await self.network.node.call("eth_getTransactionReceipt", one["hash"])
        fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
        success = receipt["status"] == "0x1"
        sender = evm_address.from_word(one["from"])
        moves = []
        if success and int(one["value"], 16) and one["to"]:
            receiver = evm_address.from_word(one["to"])
            moves.append(Movement(one["hash"], None, sender, receiver, int(one["value"], 16)))
        for log in receipt["logs"]:
            if log["topics"][0] == TRANSFER_TOPIC:
                parties = (evm_address.from_word(topic) for topic in log["topics"][1:3])
                contract = evm_address.from_word(log["address"])
                moves.append(Movement(one["hash"], contract, *parties, int(log["data"], 16)))
        return Landed(one["hash"], sender, success, fee, tuple(moves))


@contextlib.asynccontextmanager
async def evm_ground(connection: Connection, host: str) -> AsyncIterator[EvmGround]:
    """The network, described in the database, with funded wallets."""
    rules = EvmRules(block_time=timedelta(seconds=BLOCK_SECONDS), fees=dict(FEES))
    async with evm_network(host=host) as network:
        world = await EvmWorld.found(connection, network, rules)
        nodes = [{"url": network.url, "timeout_seconds": NODE_TIMEOUT}]
        await connection.execute(
            "UPDATE chains SET nodes = %s, sync_interval = '2 seconds', gas_max_per_wallet_day = gas_max_per_day, "
            "gas_flag_below = %s, gas_execute_below = %s, gas_amount = %s WHERE id = %s",
            [Jsonb(nodes), GAS_AMOUNT, EXECUTE_BELOW, GAS_AMOUNT, world.chain_id],
        )
        for _ in range(WALLETS):
            await world.wallet()
        ground = EvmGround(
            name="bsc",
            **described(world),
            topup_ceiling=TOPUP_CEILING,
            network=network,
        )
        async with background(ground.make_blocks()):
            yield ground
