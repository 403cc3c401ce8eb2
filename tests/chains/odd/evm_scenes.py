"""All that an EVM provider asks of a node, at a real one."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.values import Asset, BalanceQuery, Family, Finality, Payment, SignedTransaction
from tests.building import build, bump
from tests.chains.evm.conftest import CONTRACTS
from tests.chains.odd.gate import Make
from tests.chains.odd.recorded import Ask, Scene
from tests.chains.provider.evm_network import CHAIN_ID, FEE_POLICY, EvmNetwork
from tests.chains.provider.network import FakeTime

PAYER, RECEIVER, OTHER = 40, 41, 42

IN_A_BLOCK = frozenset({"number", "hash", "blockHash", "blockNumber", "transactionHash", "from", "chainId"})
"""Leaves that a block with transactions and its receipts say more than once."""


@dataclass(slots=True)
class EvmScenes:
    """Made in the order in which they are recorded: what is sent changes the chain."""

    network: EvmNetwork
    time: FakeTime = field(default_factory=FakeTime)

    def make(self) -> EvmProvider:
        return EvmProvider(
            "anvil",
            CHAIN_ID,
            [NodeConfig(self.network.url)],
            [self.network.coin, self.network.token],
            fee_policy=FEE_POLICY,
            clock=Clock(self.time.monotonic, self.time.sleep),
            patience=0,
        )

    async def record(self) -> tuple[list[Scene], Make]:
        from tests.chains.odd.gate import record

        network, scenes = self.network, []

        async def scene(name: str, ask: Ask, checked: frozenset[str] = frozenset()) -> None:
            scenes.append(await record(Scene(name, ask, checked=checked), self.make))

        payer, receiver = await network.address(PAYER), await network.address(RECEIVER)
        await network.fund(payer, 2_000_000_000, tokens=5_000)
        await network.fund(await network.address(OTHER), 2_000_000_000)
        await network.finalize()
        coin, token = Payment(payer, receiver, network.coin, 1_000), Payment(payer, receiver, network.token, 700)
        nobody = Payment(await network.address(60), receiver, network.coin, 1_000)

        await scene("check_network", lambda p: p.check_network(), frozenset({"result"}))
        await scene("block_ref head", lambda p: p.block_ref(Finality.HEAD))
        await scene("block_ref final", lambda p: p.block_ref(Finality.FINAL))
        await scene("market", lambda p: p.market())
        await scene("estimate coin", lambda p: p.estimate(coin))
        await scene("estimate token", lambda p: p.estimate(token))
        await scene("estimate coin of nobody", lambda p: p.estimate(nobody))
        too_much = Payment(payer, receiver, network.token, 50_000)
        await scene("estimate too much", lambda p: p.estimate(too_much))
        no_token = Payment(payer, receiver, Asset("NONE", 6, receiver), 5)
        await scene("estimate no token", lambda p: p.estimate(no_token))
        await scene("inspect_token", lambda p: p.inspect_token(network.token.contract))
        await scene("inspect no token", lambda p: p.inspect_token(receiver))
        balances = [BalanceQuery(payer, network.coin), BalanceQuery(payer, network.token)]
        await scene("balances by creation", lambda p: p.balances(balances))

        estimate = await self._asked(lambda p: p.estimate(token))
        await scene("build", lambda p: build(p, token, estimate, 0, 0))
        first = await self._signed(token, PAYER, 0)
        second = await self._signed(coin, PAYER, 1)
        await scene("broadcast", lambda p: p.broadcast(first), frozenset({"result"}))
        await scene("broadcast again", lambda p: p.broadcast(first))
        await self._asked(lambda p: p.broadcast(second))
        await scene("sender_nonces", lambda p: p.sender_nonces(payer))
        await scene("bump", lambda p: bump(p, second))
        await scene("outpriced", lambda p: p.outpriced(second))
        await scene("verdict open", lambda p: p.verdicts([first]))
        await network.mine()
        await scene("find at head", lambda p: p.find(first.txid, Finality.HEAD), IN_A_BLOCK)
        await scene("find before it is final", lambda p: p.find(first.txid, Finality.FINAL))
        await network.finalize()
        found = await self._asked(lambda p: p.find(first.txid, Finality.FINAL))
        assert found is not None
        height = found.block.number
        await scene("broadcast in a block", lambda p: p.broadcast(first))
        await scene("find", lambda p: p.find(first.txid, Finality.FINAL), IN_A_BLOCK)
        await scene("find none", lambda p: p.find("0x" + "77" * 32, Finality.FINAL))
        await scene("verdict final", lambda p: p.verdicts([first]), IN_A_BLOCK)
        await scene("block", lambda p: p.block(height, Finality.FINAL), IN_A_BLOCK)
        await scene("block at head", lambda p: p.block(height, Finality.HEAD), IN_A_BLOCK)
        await scene("no block", lambda p: p.block(height + 1000, Finality.FINAL))
        network.proxy.missing_methods.add("eth_getBlockReceipts")
        await scene("block by receipts", lambda p: p.block(height, Finality.FINAL), IN_A_BLOCK)
        network.proxy.missing_methods.clear()
        await scene("transfers", lambda p: p.transfers(1, height, [network.token.contract]))
        await scene("count_at", lambda p: p.count_at(payer, height))
        other = await self._signed(Payment(payer, receiver, network.coin, 2), PAYER, 0)
        await scene("verdict dead", lambda p: p.verdicts([other]))
        from tests.chains.evm import multicall3

        await multicall3.stand(network.node)
        await scene("balances by Multicall3", lambda p: p.balances(balances))
        reverting = await network.node.deploy(CONTRACTS / "NoToken.json")
        reverting = network.provider().codec.validate_address(reverting)
        await scene("inspect what reverts", lambda p: p.inspect_token(reverting))
        return scenes, self.make

    async def _asked(self, ask: Ask) -> Any:
        """Past every recording."""
        provider = self.make()
        try:
            return await ask(provider)
        finally:
            await provider.close()

    async def _signed(self, payment: Payment, index: int, nonce: int) -> SignedTransaction:
        provider = self.make()
        unsigned = await build(provider, payment, await provider.estimate(payment), 0, nonce)
        signed = provider.codec.attach(unsigned, self.network.signer.sign(Family.EVM, index, unsigned.digest))
        await provider.close()
        return signed
