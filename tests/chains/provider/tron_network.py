"""The simulated TRON network as a :class:`TestNetwork`."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from pipeline.chains.fees import Fee
from pipeline.chains.provider import Provider
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, Family, Payment, SignedTransaction, UnsignedTransaction
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.faults import FaultKind
from pipeline.devnet.server import DevnetOptions, running
from pipeline.signing.keyring import Keyring
from tests.building import build
from tests.chains.provider.network import FakeTime, Trouble

MNEMONIC = "abandon " * 11 + "about"
SOLID_LAG = 3

_FAULTS = {
    Trouble.HTML: FaultKind.HTML,
    Trouble.TOO_MANY: FaultKind.TOO_MANY,
    Trouble.BANNED: FaultKind.BANNED,
    Trouble.SUSPENDED: FaultKind.SUSPENDED,
    Trouble.NO_REPLY: FaultKind.LOST_REPLY,
    Trouble.NO_REQUEST: FaultKind.LOST_REQUEST,
    Trouble.BUSY: FaultKind.SERVER_BUSY,
    Trouble.FALSE_TXID: FaultKind.FALSE_TXID,
    Trouble.REPLIED_TWICE: FaultKind.DUPLICATED,
}


@dataclass
class TronNetwork:
    devnet: DevnetClient
    genesis: str
    token: Asset
    stack: AsyncExitStack
    url: str
    family: str = "tron"
    expires: bool = True
    coin: Asset = field(default_factory=lambda: Asset("TRX", 6))
    time: FakeTime = field(default_factory=FakeTime)
    signer: Keyring = field(default_factory=lambda: Keyring(MNEMONIC))
    finality_depth: int = SOLID_LAG

    def provider(self, *urls: str, network_id: str | None = None, margin: float = 15) -> TronProvider:
        made = TronProvider(
            "tron",
            network_id or self.genesis,
            [NodeConfig(url) for url in urls or (self.url,)],
            [self.coin, self.token],
            clock=Clock(self.time.monotonic, self.time.sleep),
            death_margin=timedelta(seconds=margin),
            shared_seconds=0.0,
        )
        self.stack.push_async_callback(made.close)
        return made

    async def address(self, index: int) -> str:
        return self.signer.address(Family.TRON, index)

    async def build(
        self, provider: Provider, payment: Payment, estimate: Fee, lifetime: float = 180
    ) -> UnsignedTransaction:
        return await build(provider, payment, estimate, lifetime)

    async def sign(self, provider: Provider, payment: Payment, index: int, lifetime: float = 180) -> SignedTransaction:
        unsigned = await self.build(provider, payment, await provider.estimate(payment), lifetime)
        return provider.codec.attach(unsigned, self.signer.sign(Family.TRON, index, unsigned.digest))

    async def fund(self, address: str, coins: int, tokens: int = 0) -> None:
        if coins:
            await self.devnet.faucet(address, coins)
        if tokens:
            assert self.token.contract is not None
            await self.devnet.send_token(self.token.contract, address, tokens)

    async def pause_token(self) -> None:
        assert self.token.contract is not None
        await self.devnet.call(self.token.contract, "pause()")

    async def mine(self, blocks: int = 1) -> None:
        await self.devnet.mine(blocks)

    async def finalize(self) -> None:
        await self.devnet.solidify()

    async def pass_time(self, seconds: float) -> None:
        await self.devnet.advance(seconds)

    async def fork_out(self, depth: int, *, forget: bool) -> None:
        await self.devnet.fork(depth, drop=forget)

    async def hold_pending(self) -> None:
        await self.devnet.hold()

    async def lose_pending(self) -> None:
        await self.devnet.drop_pending()

    async def doom(self, signed: SignedTransaction, index: int) -> None:
        await self.pass_time(1000)
        await self.mine()

    async def another_node(self) -> str:
        return (await self.devnet.start_node("second")).url

    async def another_network(self) -> str:
        other = await self.stack.enter_async_context(running(DevnetOptions(block_time=0, network="elsewhere")))
        return other.main.url

    async def freeze(self) -> None:
        await self.devnet.freeze()

    async def trouble(self, trouble: Trouble, *, sending: bool = False, count: int | None = 1) -> None:
        path = "wallet/broadcasthex" if sending else "wallet*/*"
        await self.devnet.add_fault(_FAULTS[trouble], path, count=count)

    async def calm(self) -> None:
        await self.devnet.clear_faults()

    async def times_paid(self, payment: Payment) -> int:
        wanted = (payment.asset.contract, payment.sender, payment.receiver, payment.amount)
        paid = await self.devnet.audit()
        return sum((one.contract, one.sender, one.receiver, one.amount) == wanted for one in paid)

    async def truth(self, address: str, asset: Asset, *, final: bool) -> int:
        return await self.devnet.balance(address, asset.contract, solid=final)


@asynccontextmanager
async def tron_network() -> AsyncIterator[TronNetwork]:
    async with contextlib.AsyncExitStack() as stack:
        options = DevnetOptions(block_time=0, solid_lag=SOLID_LAG, network="provider-suite")
        network = await stack.enter_async_context(running(options))
        devnet = await stack.enter_async_context(DevnetClient(network.main.url))
        contract, _ = await devnet.deploy_token()
        await devnet.solidify()
        genesis = (await devnet.status()).genesis_id
        yield TronNetwork(devnet, genesis, Asset("USDT", 6, contract), stack, network.main.url)
