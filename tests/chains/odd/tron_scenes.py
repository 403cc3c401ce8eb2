"""All that a TRON provider asks of a node, at one of the simulated network."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, BalanceQuery, Family, Finality, Payment, SignedTransaction
from pipeline.devnet.faults import FaultKind
from tests.building import build
from tests.chains.odd.gate import Make
from tests.chains.odd.recorded import Ask, Scene
from tests.chains.provider.network import FakeTime
from tests.chains.provider.tron_network import TronNetwork

PAYER, RECEIVER = 40, 41

IN_A_BLOCK = frozenset({"number", "blockID", "parentHash", "blockNumber", "txID", "id", "raw_data_hex"})
"""Leaves that contradict each other where one is false: ids are hashes of a header and of bytes."""


@dataclass(slots=True)
class TronScenes:
    """Made in the order in which they are recorded: what is sent changes the chain."""

    network: TronNetwork
    time: FakeTime = field(default_factory=FakeTime)

    def make(self) -> TronProvider:
        return TronProvider(
            "tron",
            self.network.genesis,
            [NodeConfig(self.network.url)],
            [self.network.coin, self.network.token],
            clock=Clock(self.time.monotonic, self.time.sleep),
            patience=0,
            shared_seconds=0.0,
        )

    async def record(self) -> tuple[list[Scene], Make]:
        from tests.chains.odd.gate import record

        network, scenes = self.network, []

        async def scene(name: str, ask: Ask, checked: frozenset[str] = frozenset()) -> None:
            scenes.append(await record(Scene(name, ask, checked=checked), self.make))

        payer, receiver = await network.address(PAYER), await network.address(RECEIVER)
        await network.fund(payer, 400_000_000, tokens=5_000_000)
        await network.finalize()
        coin, token = Payment(payer, receiver, network.coin, 1_000_000), Payment(payer, receiver, network.token, 700)

        await scene("check_network", lambda p: p.check_network(), frozenset({"blockID"}))
        await scene("block_ref head", lambda p: p.block_ref(Finality.HEAD), IN_A_BLOCK)
        await scene("block_ref final", lambda p: p.block_ref(Finality.FINAL), IN_A_BLOCK)
        await scene("estimate coin", lambda p: p.estimate(coin))
        await scene("estimate token", lambda p: p.estimate(token))
        nobody = Payment(await network.address(60), receiver, network.coin, 1_000)
        await scene("estimate coin of nobody", lambda p: p.estimate(nobody))
        await scene("estimate too much", lambda p: p.estimate(Payment(payer, receiver, network.token, 9_000_000)))
        no_token = Payment(payer, receiver, Asset("NONE", 6, receiver), 5)
        await scene("estimate no token", lambda p: p.estimate(no_token))
        await scene("inspect_token", lambda p: p.inspect_token(network.token.contract))
        await scene("inspect no token", lambda p: p.inspect_token(receiver))
        balances = [BalanceQuery(payer, network.coin), BalanceQuery(payer, network.token)]
        await scene("balances", lambda p: p.balances(balances))

        estimate = await self._asked(lambda p: p.estimate(token))

        async def without_time(provider: Any) -> Any:
            built = await build(provider, token, estimate, 180)  # its timestamp is drawn
            return built.payment, built.fee_cap, built.expiration, built.ref_block

        await scene("build", without_time, IN_A_BLOCK)
        first, second = await self._signed(token), await self._signed(coin)
        await scene("broadcast", lambda p: p.broadcast(first), frozenset({"txid"}))
        await scene("broadcast again", lambda p: p.broadcast(first), frozenset({"txid"}))
        await network.devnet.add_fault(FaultKind.FALSE_CODE, "wallet/broadcasthex", count=1, code="SIGERROR")
        await scene("broadcast refused", lambda p: p.broadcast(first), frozenset({"txid"}))
        await self._asked(lambda p: p.broadcast(second))
        await scene("verdict open", lambda p: p.verdict(first))
        await network.mine()
        await scene("find at head", lambda p: p.find(first.txid, Finality.HEAD), IN_A_BLOCK)
        await network.finalize()
        found = await self._asked(lambda p: p.find(first.txid, Finality.FINAL))
        assert found is not None
        height = found.block.number
        await scene("find", lambda p: p.find(first.txid, Finality.FINAL), IN_A_BLOCK)
        await scene("find coin", lambda p: p.find(second.txid, Finality.FINAL), IN_A_BLOCK)
        await scene("find none", lambda p: p.find("77" * 32, Finality.FINAL))
        await scene("verdict final", lambda p: p.verdict(first), IN_A_BLOCK)
        await scene("block", lambda p: p.block(height, Finality.FINAL), IN_A_BLOCK)
        await scene("block at head", lambda p: p.block(height, Finality.HEAD), IN_A_BLOCK)
        await scene("no block", lambda p: p.block(height + 1000, Finality.FINAL))
        late = await self._signed(token)
        await network.pass_time(1000)
        await network.finalize()
        await scene("verdict dead", lambda p: p.verdict(late))
        return scenes, self.make

    async def _asked(self, ask: Ask) -> Any:
        """Past every recording."""
        provider = self.make()
        try:
            return await ask(provider)
        finally:
            await provider.close()

    async def _signed(self, payment: Payment) -> SignedTransaction:
        provider = self.make()
        unsigned = await build(provider, payment, await provider.estimate(payment), 180)
        signed = provider.codec.attach(unsigned, self.network.signer.sign(Family.TRON, PAYER, unsigned.digest))
        await provider.close()
        return signed
