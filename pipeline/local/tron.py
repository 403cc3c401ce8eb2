"""The simulated TRON network as the local mode sees it."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.chains.values import Asset, Family
from pipeline.devnet.client import DevnetClient
from pipeline.local.audit import Movement
from pipeline.local.network import GasRules

if TYPE_CHECKING:
    from pipeline.local.tron_customer import TronCustomer

TRX = 1_000_000
"""Sun."""
CUSTOMERS_NODE = "customers"
CUSTOMER_TRX = 10_000_000 * TRX
CUSTOMER_TOKENS = 10**15
"""Raw units. Both last for weeks of `flagpost up`, and each start gives as much again."""

THRESHOLD_FLAG_BELOW = 5 * TRX
ON_DEMAND_FLAG_BELOW = 1 * TRX
"""What a transfer needs is found out by simulating it, and sent exactly. A higher mark would raise the flag again right
after such a top-up, for a job that only finds enough gas."""


class TronNetwork:
    """Implements :class:`pipeline.local.network.LocalNetwork`."""

    chain = "tron"
    family = Family.TRON
    coin = Asset("TRX", 6)
    token_decimals = 6
    rules = GasRules(
        flag_below={"threshold": THRESHOLD_FLAG_BELOW, "on_demand": ON_DEMAND_FLAG_BELOW},
        execute_below={"threshold": TRX, "on_demand": TRX},
        amount=5 * TRX,
        fee_reserve=TRX,
        max_per_topup=50 * TRX,
        max_per_wallet_day=2_000 * TRX,
        max_per_day=100_000 * TRX,
    )

    def __init__(self, url: str) -> None:
        self.url = self.node_url = url
        self.client = DevnetClient(url)
        self._customer: TronCustomer | None = None
        self._customer_opening = asyncio.Lock()

    async def network_id(self) -> str:
        return (await self.client.status()).genesis_id

    async def ready(self) -> None:
        await self.client.status()

    async def deploy_token(self) -> str:
        contract, _ = await self.client.deploy_token()
        await self.client.solidify()  # nobody has to wait for the clock before there is anything to see
        return contract

    async def faucet(self, address: str, raw: int) -> None:
        await self.client.faucet(address, raw)
        await self.client.solidify()

    async def deposit(self, token: str, address: str, raw: int) -> None:
        customer = await self._ready_customer(token)
        if customer is None:
            await self.client.send_token(token, address, raw)
        else:
            await customer.send_token(token, address, raw)

    async def balance(self, address: str, token: str | None = None, *, final: bool = False) -> int:
        return await self.client.balance(address, token, solid=final)

    async def height(self) -> int:
        return (await self.client.status()).head.number

    async def movements(self) -> Sequence[Movement]:
        return [
            Movement(move.txid, move.contract, move.sender, move.receiver, move.amount)
            for move in await self.client.audit()
        ]

    async def close(self) -> None:
        await self.client.close()
        if self._customer is not None:
            await self._customer.close()

    async def _ready_customer(self, token: str) -> "TronCustomer | None":
        """Who deposits, with funds; None where tronpy does not install: the network's faucet pays there."""
        try:
            # Here, for it takes half a second that only the process of the customers has to spend.
            from pipeline.local.tron_customer import TronCustomer
        except ModuleNotFoundError:
            return None
        async with self._customer_opening:
            if self._customer is None:
                # Behind a node of its own, so that a fault at the workers' node meets the workers alone.
                customer = TronCustomer(await self._customers_node())
                await self.client.faucet(customer.address, CUSTOMER_TRX)
                await self.client.mint(token, customer.address, CUSTOMER_TOKENS)
                await self.client.solidify()
                self._customer = customer
        return self._customer

    async def _customers_node(self) -> str:
        """The URL of the customers' node, which an earlier process may have started."""
        for node in (await self.client.status()).nodes:
            if node.name == CUSTOMERS_NODE:
                return node.url
        return (await self.client.start_node(CUSTOMERS_NODE)).url


def devnet_command(port: int, block_time: float, solid_lag: int) -> str:
    """The command line of the simulated network."""
    return f"flagpost devnet --port {port} --block-time {block_time} --solid-lag {solid_lag}"
