"""A real anvil node, behind proxies that misbehave on request, as a :class:`TestNetwork`."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_abi.abi import encode

from pipeline.chains.evm.codec import address as evm_address
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.evm.rpc.fees import FeePolicy
from pipeline.chains.fees import Fee
from pipeline.chains.provider import Provider
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.values import Asset, Family, Payment, SignedTransaction, UnsignedTransaction
from pipeline.local.anvil_proxy import SEND, ProxyFault
from pipeline.signing.keyring import Keyring
from tests.building import build
from tests.chains.evm.anvil import BASE_FEE, FINALITY_DEPTH, Anvil, anvil
from tests.chains.evm.proxy import OddNode
from tests.chains.provider.network import FakeTime, Trouble

MNEMONIC = "abandon " * 11 + "about"
CHAIN_ID = 31337
FEE_POLICY = FeePolicy(cap=20)
"""Wei: amounts of the suite are small, so gas must be cheap. The base fee is 7."""
TOKEN = Path(__file__).parents[3] / "pipeline" / "devnet" / "contracts" / "Token.json"
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

_FAULTS = {
    Trouble.HTML: ProxyFault.HTML,
    Trouble.TOO_MANY: ProxyFault.TOO_MANY,
    Trouble.BANNED: ProxyFault.BANNED,
    Trouble.SUSPENDED: ProxyFault.SUSPENDED,
    Trouble.NO_REPLY: ProxyFault.LOST_REPLY,
    Trouble.NO_REQUEST: ProxyFault.LOST_REQUEST,
    Trouble.BUSY: ProxyFault.BUSY,
    Trouble.FALSE_TXID: ProxyFault.FALSE_HASH,
    Trouble.REPLIED_TWICE: ProxyFault.DUPLICATED,
}


@dataclass
class EvmNetwork:
    node: Anvil
    proxy: OddNode
    token: Asset
    stack: AsyncExitStack
    family: str = "evm"
    expires: bool = False
    coin: Asset = field(default_factory=lambda: Asset("ETH", 18))
    time: FakeTime = field(default_factory=FakeTime)
    signer: Keyring = field(default_factory=lambda: Keyring(MNEMONIC))
    finality_depth: int = FINALITY_DEPTH
    held: list[str] = field(default_factory=list)
    nonces: dict[str, int] = field(default_factory=dict)
    """The next one of each sender of ours."""

    @property
    def url(self) -> str:
        return self.proxy.url

    def provider(self, *urls: str, network_id: str | None = None, policy: FeePolicy = FEE_POLICY) -> EvmProvider:
        made = EvmProvider(
            "anvil",
            int(network_id or CHAIN_ID),
            [NodeConfig(url) for url in urls or (self.url,)],
            [self.coin, self.token],
            fee_policy=policy,
            clock=Clock(self.time.monotonic, self.time.sleep),
        )
        self.stack.push_async_callback(made.close)
        return made

    async def address(self, index: int) -> str:
        return self.signer.address(Family.EVM, index)

    async def build(
        self, provider: Provider, payment: Payment, estimate: Fee, lifetime: float = 180
    ) -> UnsignedTransaction:
        nonce = self.nonces.get(payment.sender, 0)
        self.nonces[payment.sender] = nonce + 1
        return await build(provider, payment, estimate, lifetime, nonce)

    async def sign(self, provider: Provider, payment: Payment, index: int, lifetime: float = 180) -> SignedTransaction:
        unsigned = await self.build(provider, payment, await provider.estimate(payment), lifetime)
        return provider.codec.attach(unsigned, self.signer.sign(Family.EVM, index, unsigned.digest))

    async def fund(self, address: str, coins: int, tokens: int = 0) -> None:
        if coins:
            await self.node.send(self.node.accounts[1], address, value=coins)
        if tokens:
            data = "0x40c10f19" + address[2:].rjust(64, "0") + tokens.to_bytes(32, "big").hex()
            await self.node.send(self.node.accounts[0], self.token.contract, data=data)

    async def pause_token(self) -> None:
        await self.node.send(self.node.accounts[0], self.token.contract, data="0x8456cb59")

    async def mine(self, blocks: int = 1) -> None:
        await self.node.mine(blocks)

    async def finalize(self) -> None:
        for raw in self.held:
            await self.node.call(SEND, raw)
        self.held.clear()
        await self.node.finalize()

    async def pass_time(self, seconds: float) -> None:
        await self.node.call("evm_increaseTime", int(seconds))

    async def fork_out(self, depth: int, *, forget: bool) -> None:
        raws: list[str] = []
        head = await self.node.height()
        for number in range(head - depth + 1, head + 1):
            block = await self.node.call("eth_getBlockByNumber", hex(number), False)
            raws += [await self.node.call("eth_getRawTransactionByHash", txid) for txid in block["transactions"]]
        # Anvil forgets what it reorganises out; a real node has it in its pool again.
        await self.node.call("anvil_reorg", depth, [])
        if not forget:
            for raw in raws:
                await self.node.call(SEND, raw)

    async def hold_pending(self) -> None:
        self.held += await self._pooled()
        await self.node.call("anvil_dropAllTransactions")

    async def lose_pending(self) -> None:
        for txid in await self._pooled_ids():
            self.proxy.remember(txid)
        await self.node.call("anvil_dropAllTransactions")

    async def doom(self, signed: SignedTransaction, index: int) -> None:
        """Another transaction takes its nonce."""
        provider = self.provider(self.node.url)
        await self.node.send(self.node.accounts[1], signed.sender, value=10_000_000)
        await self.mine()
        payment = Payment(signed.sender, await self.address(index + 1), self.coin, 1)
        unsigned = await build(provider, payment, await provider.estimate(payment), 0, signed.nonce)
        other = provider.codec.attach(unsigned, self.signer.sign(Family.EVM, index, unsigned.digest))
        await provider.broadcast(other)
        await self.mine()

    async def another_node(self) -> str:
        return (await self.stack.enter_async_context(OddNode.before(self.node.url))).url

    async def another_network(self) -> str:
        return (await self.stack.enter_async_context(anvil(chain_id=CHAIN_ID + 1))).url

    async def freeze(self) -> None:
        self.proxy.freeze(await self.node.height())

    async def trouble(self, trouble: Trouble, *, sending: bool = False, count: int | None = 1) -> None:
        self.proxy.plan(_FAULTS[trouble], SEND if sending else None, count)

    async def calm(self) -> None:
        self.proxy.calm()

    async def times_paid(self, payment: Payment) -> int:
        wanted = (payment.asset.contract, payment.sender, payment.receiver, payment.amount)
        return (await self._paid()).count(wanted)

    async def truth(self, address: str, asset: Asset, *, final: bool) -> int:
        return await self.node.balance(address, asset.contract, "finalized" if final else "latest")

    async def _paid(self) -> list[tuple[str | None, str, str, int]]:
        """Everything that moved on the canonical chain, read from anvil itself."""
        moved: list[tuple[str | None, str, str, int]] = []
        for number in range(1, await self.node.height() + 1):
            block = await self.node.call("eth_getBlockByNumber", hex(number), True)
            for one in block["transactions"]:
                if int(one["value"], 16) and one["to"]:
                    moved.append((None, _text(one["from"]), _text(one["to"]), int(one["value"], 16)))
        everything = {"fromBlock": "0x0", "toBlock": "latest", "topics": [TRANSFER_TOPIC]}
        for log in await self.node.call("eth_getLogs", everything):
            sender, receiver = ("0x" + topic[-40:] for topic in log["topics"][1:])
            moved.append((_text(log["address"]), _text(sender), _text(receiver), int(log["data"], 16)))
        return moved

    async def _pooled_ids(self) -> list[str]:
        pool = (await self.node.call("txpool_content"))["pending"]
        return [one["hash"] for by_nonce in pool.values() for one in by_nonce.values()]

    async def _pooled(self) -> list[str]:
        return [await self.node.call("eth_getRawTransactionByHash", txid) for txid in await self._pooled_ids()]


@asynccontextmanager
async def evm_network(
    base_fee: int = BASE_FEE, host: str = "127.0.0.1", options: Sequence[str] = ()
) -> AsyncIterator[EvmNetwork]:
    """``host``: the address that its proxy listens on; ``options``: further ones of anvil."""
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(anvil(chain_id=CHAIN_ID, base_fee=base_fee, options=options))
        proxy = await stack.enter_async_context(OddNode.before(node.url, host))
        contract = await node.deploy(TOKEN, _token_arguments("Tether USD", "USDT", 6, 0))
        await node.finalize()
        yield EvmNetwork(node, proxy, Asset("USDT", 6, _text(contract)), stack)


def _token_arguments(name: str, symbol: str, decimals: int, supply: int) -> str:
    return encode(["string", "string", "uint8", "uint256"], [name, symbol, decimals, supply]).hex()


def _text(address: str) -> str:
    return evm_address.from_word(address)
