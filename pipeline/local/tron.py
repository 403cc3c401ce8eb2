"""The simulated TRON network as the local mode sees it."""

from collections.abc import Sequence

from pipeline.chains.values import Asset, Family
from pipeline.devnet.client import DevnetClient
from pipeline.local.audit import Movement
from pipeline.local.network import GasRules

TRX = 1_000_000
"""Sun."""

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
        await self.client.send_token(token, address, raw)

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


def devnet_command(port: int, block_time: float, solid_lag: int) -> str:
    """The command line of the simulated network."""
    return f"flagpost devnet --port {port} --block-time {block_time} --solid-lag {solid_lag}"
