"""The provider for EVM chains. Encoding is local; a node is asked for facts and handed finished bytes."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.chains.evm.codec import address, transaction
from pipeline.chains.evm.codec.codec import EvmCodec, checked
from pipeline.chains.evm.codec.transaction import GasPrice
from pipeline.chains.evm.rpc import blocks, fees, heads, simulate, tokens, verdict
from pipeline.chains.evm.rpc.abilities import read_lacks
from pipeline.chains.evm.rpc.balances import EvmBalances
from pipeline.chains.evm.rpc.broadcast import send
from pipeline.chains.evm.rpc.fees import NO_ORACLE, EvmFees, FeePolicy, Market
from pipeline.chains.evm.rpc.l1_fee import L1Fees
from pipeline.chains.evm.rpc.logs import TransferLogs
from pipeline.chains.evm.rpc.node import EvmNode, RpcError, check_chain_id, reading, wanted
from pipeline.chains.fees import EvmFee, EvmParameters, Fee
from pipeline.chains.provider import Capabilities
from pipeline.chains.rpc.answers import MAX_COUNT, MalformedAnswer, quantity
from pipeline.chains.rpc.broadcast import broadcast
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.rpc.kept_answers import KeptAnswers
from pipeline.chains.rpc.nodes import PATIENCE, Nodes
from pipeline.chains.rpc.receipts import find_gaps
from pipeline.chains.values import (
    Asset,
    Balance,
    BalanceQuery,
    BlockContent,
    BlockRef,
    BroadcastReply,
    Finality,
    MissingCapability,
    Payment,
    ReceiptGap,
    SignedTransaction,
    TokenInfo,
    TokenTransfer,
    TransactionResult,
    Verdict,
)

BLOCK_SECONDS = 3.0
FINAL_HEIGHT_KEPT_SECONDS = 10.0
"""For ``ref_block``, where an older height is only the more careful one."""


@dataclass(frozen=True, slots=True)
class SenderNonces:
    """How many transactions of an address are counted, by one node at one moment: its next nonce."""

    finalized: int
    """Below this nothing can change any more."""
    latest: int
    pending: int
    """With those in this node's pool and without a gap; a hint, as other pools may hold more."""

    @property
    def seen(self) -> int:
        """All that this node shows, in blocks or in its pool."""
        return max(self.latest, self.pending)


class EvmProvider:
    """Implements :class:`pipeline.chains.provider.Provider`."""

    def __init__(
        self,
        chain: str,
        chain_id: int,
        nodes: Sequence[NodeConfig],
        assets: Sequence[Asset],
        *,
        api_keys: Sequence[str] = (),
        fee_policy: FeePolicy | None = None,
        block_seconds: float = BLOCK_SECONDS,
        clock: Clock | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """``assets`` are those of :class:`EvmCodec`.

        Raises ValueError without nodes or for a chain id that is not above 0, InvalidAddress for an asset's contract.
        """
        if chain_id <= 0:
            raise ValueError(f"network_id of {chain} is {chain_id}: it must be the chain id, a number above 0")
        clock = clock or Clock()
        self._chain_id = chain_id
        policy = fee_policy or FeePolicy()
        charges_l1_fee = policy.l1_oracle != NO_ORACLE
        self._nodes = Nodes(
            chain,
            [EvmNode(config, api_keys, clock=clock, charges_l1_fee=charges_l1_fee) for config in nodes],
            lambda node: check_chain_id(node, chain_id),
            patience=patience,
            clock=clock,
        )
        self.codec = EvmCodec(chain_id, assets)
        self._balances = EvmBalances(self._nodes)
        self._logs = TransferLogs(self._nodes)
        self._chain = chain
        self._fees = EvmFees(chain, policy, clock, self._nodes)
        self._l1_fees = L1Fees(chain, chain_id, policy, clock)
        self._block_seconds = block_seconds
        self._final_block = KeptAnswers[None, BlockRef](clock, FINAL_HEIGHT_KEPT_SECONDS)

    @property
    def capabilities(self) -> Capabilities:
        announces_blocks = any(node.config.ws_url is not None for node in self._nodes.all)
        return Capabilities(numbered=self, logs=self, heads=self if announces_blocks else None, gas=self)

    @property
    def requests_per_second(self) -> float | None:
        return self._nodes.requests_per_second

    async def check_network(self) -> None:
        await self._nodes.check_all()

    async def lacks(self) -> Mapping[str, Sequence[MissingCapability]]:
        return {name: found for name, found in (await self._nodes.ask_each(read_lacks)).items() if found}

    async def block_ref(self, finality: Finality) -> BlockRef:
        return await self._nodes.ask(lambda node: node.block_ref(finality))

    async def block(self, number: int, finality: Finality) -> BlockContent | None:
        return await self._nodes.ask(lambda node: blocks.read_block(node, number, finality))

    def heads(self) -> AsyncGenerator[BlockRef, None]:
        """The head now and each new one, for ever: a wake-up. Raises nothing that a node does."""
        return heads.follow(self._nodes, self._chain_id, self._block_seconds)

    async def balances(self, queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> list[Balance]:
        """All at the one block that was the newest of that finality at the start, by its hash."""
        return await self._balances.read(queries, finality)

    async def transfers(self, first: int, last: int, contracts: Sequence[str]) -> list[TokenTransfer]:
        """Ranges are as large as the nodes take them. Raises InvalidAddress for a contract."""
        return await self._logs.read(first, last, [address.validate(one) for one in contracts])

    async def inspect_token(self, contract: str) -> TokenInfo:
        canonical = address.validate(contract)
        return await self._nodes.ask(lambda node: tokens.inspect(node, canonical))

    @property
    def gas_cap(self) -> int:
        return self._fees.policy.cap

    async def market(self) -> Market:
        """What the network asks for now, wei for a unit of gas."""
        return await self._fees.market()

    async def max_fee(self) -> int:
        return (await self._fees.quote()).max_fee

    async def l1_fee(self, gas_limit: int) -> int:
        """What a rollup charges for the L1 part of a token transfer, wei, margin included; 0 elsewhere."""
        somebody = address.from_bytes(b"\xff" * 20)
        asset = Asset("token", 0, somebody)
        payment = Payment(somebody, somebody, asset, 2**128 - 1)

        async def ask(node: EvmNode) -> int:
            offer = fees.asked_of(await self._fees.market(), GasPrice(0, 0), self._fees.policy)
            return await self._l1_fees.of_payment(node, payment, gas_limit, offer)

        return await self._nodes.ask(ask)

    async def sender_nonces(self, sender: str) -> SenderNonces:
        """For the reservation of nonces. Raises InvalidAddress. A node whose counts contradict each other is passed. Of
        one that tells nothing of its pool (no tag ``pending``) what is in blocks is all that is seen."""
        canonical = address.validate(sender)

        async def ask(node: EvmNode) -> SenderNonces:
            tags = ("finalized", "latest", "pending")
            finalized, latest, pending = await node.batch(
                [("eth_getTransactionCount", [canonical, tag]) for tag in tags]
            )
            if pending is None or isinstance(pending, RpcError):
                pending = latest
            with reading(node, "eth_getTransactionCount"):
                counts = SenderNonces(
                    *(quantity(wanted(one), "a count", MAX_COUNT) for one in (finalized, latest, pending))
                )
                if counts.finalized > counts.latest:
                    raise MalformedAnswer("the final count", counts.finalized, f"at most the newest, {counts.latest}")
                return counts

        return await self._nodes.ask(ask)

    async def finalized_everywhere(self, sender: str) -> Mapping[str, int]:
        """Raises InvalidAddress."""
        canonical = address.validate(sender)

        async def ask(node: EvmNode) -> int:
            answer = await node.call("eth_getTransactionCount", canonical, "finalized")
            with reading(node, "eth_getTransactionCount"):
                return quantity(answer, "the count", MAX_COUNT)

        return await self._nodes.ask_each(ask)

    async def count_at(self, sender: str, number: int) -> int | None:
        """How many transactions of an address there were up to block ``number``; None where the node has no state so
        old. Raises InvalidAddress."""
        canonical = address.validate(sender)

        async def ask(node: EvmNode) -> int | None:
            try:
                answer = await node.call("eth_getTransactionCount", canonical, hex(number))
            except RpcError:
                return None
            with reading(node, "eth_getTransactionCount"):
                return quantity(answer, "the count", MAX_COUNT)

        return await self._nodes.ask(ask)

    async def estimate(self, payment: Payment) -> EvmFee:
        """Also raises FeeCapTooLow while the network asks for more than the policy's cap."""
        checked(payment)
        return await self._nodes.ask(
            lambda node: simulate.estimate(node, self._fees, self._l1_fees, payment, self.codec.coin)
        )

    async def prepare(
        self, payment: Payment, fee: Fee, lifetime_seconds: float, nonce: int | None = None
    ) -> EvmParameters:
        """``lifetime_seconds`` means nothing here: a transaction lives until its nonce is used.

        Raises ValueError without a nonce, or for a fee of another family.
        """
        checked(payment)
        if not isinstance(fee, EvmFee):
            raise ValueError(f"a fee of another family given: {fee!r}")  # noqa: TRY004
        if nonce is None:
            raise ValueError("an EVM transaction needs the sender's nonce: reserve one")
        return EvmParameters(nonce, fee.gas_limit, fee.max_fee, fee.tip, fee.l1_fee, await self._final_number())

    async def prepare_replacement(
        self, signed: SignedTransaction, affordable: int | None = None, *, keep_gas_limit: bool = False
    ) -> EvmParameters:
        """What a replacement is built from: the same nonce, both fees +15 % and no less than the network asks for now,
        and the gas that the payment needs now, no less than before.

        ``affordable`` is what its sender can spend on its fee, wei. ``keep_gas_limit``: as it is, for a payment that
        would fail now and whose nonce is to be used. Raises SimulationFailed when the chain says that it would fail,
        FeeCapTooLow when what it needs is not affordable or above the policy's replacement_cap (the transaction stays
        as it is), UndecodableTransaction.
        """
        raw, _ = transaction.split(signed.raw)
        transfer, payment = transaction.decode(raw), self.codec.decode(signed.raw, signed.sender)
        if not keep_gas_limit:
            gas = await self._nodes.ask(lambda node: simulate.gas_now(node, self._fees.policy, payment))
            transfer = replace(transfer, gas_limit=max(transfer.gas_limit, gas))
        market = await self._fees.market()
        l1_fee = await self._nodes.ask(lambda node: self._l1_fees.of_transfer(node, transfer))
        cap = self._fees.policy.highest
        if affordable is not None:
            cap = min(cap, max(0, affordable - l1_fee) // transfer.gas_limit)
        higher = fees.raised(transfer.fees, fees.asked_of(market, transfer.fees, self._fees.policy), cap, self._chain)
        ref_block = await self._final_number() if signed.ref_block is None else signed.ref_block
        return EvmParameters(transfer.nonce, transfer.gas_limit, higher.max_fee, higher.tip, l1_fee, ref_block)

    async def outpriced(self, signed: SignedTransaction) -> bool:
        """Whether the next block's base fee is above all that it offers. Raises UndecodableTransaction."""
        market = await self._fees.market()
        return transaction.decode(transaction.split(signed.raw)[0]).fees.max_fee < (market.base or 0)

    async def broadcast(self, signed: SignedTransaction, repeat: int = 0) -> BroadcastReply:
        return await broadcast(self._nodes, signed, send, repeat)

    async def find(self, txid: str, finality: Finality) -> TransactionResult | None:
        return await self._nodes.ask(lambda node: blocks.read_transaction(node, txid, finality))

    async def find_everywhere(self, txid: str) -> Mapping[str, TransactionResult | None]:
        return await self._nodes.ask_each(lambda node: blocks.read_transaction(node, txid, Finality.FINAL))

    async def verdict(self, signed: SignedTransaction) -> Verdict:
        """DEAD here means: this very transaction. One that shares its nonce may have paid: ask :meth:`verdicts`."""
        return (await self.verdicts([signed]))[0]

    async def verdicts(self, attempts: Sequence[SignedTransaction]) -> list[Verdict]:
        """The status of each attempt with one nonce, from one node. The payment is dead when all of them are.

        Raises ValueError for attempts that do not share it."""
        verdict.shared(attempts)
        return await self._nodes.ask(lambda node: verdict.read_verdicts(node, attempts))

    async def receipt_gaps(self) -> Mapping[str, ReceiptGap]:
        return await find_gaps(
            self._nodes,
            lambda node: node.block_ref(Finality.FINAL),
            lambda node, number: blocks.read_block(node, number, Finality.FINAL),
        )

    def troubles(self) -> Mapping[str, str]:
        return self._nodes.troubles()

    async def close(self) -> None:
        await self._nodes.close()

    async def _final_number(self) -> int:
        return (await self._final_block.get(None, lambda: self.block_ref(Finality.FINAL))).number
