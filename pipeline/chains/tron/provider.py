"""The provider for TRON. Encoding is local; a node is asked for facts and handed finished bytes."""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from pipeline.chains.fees import Fee, TronFee, TronParameters
from pipeline.chains.provider import Capabilities
from pipeline.chains.rpc.broadcast import broadcast
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.rpc.kept_answers import KeptAnswers
from pipeline.chains.rpc.nodes import PATIENCE, Nodes
from pipeline.chains.rpc.receipts import find_gaps
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.codec.codec import TronCodec
from pipeline.chains.tron.rpc import balances, blocks, tokens, verdict
from pipeline.chains.tron.rpc.broadcast import send
from pipeline.chains.tron.rpc.fees import Prices, TronFees
from pipeline.chains.tron.rpc.node import TronNode, check_genesis
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
    TransactionResult,
    Verdict,
)

LONGEST_LIFETIME = timedelta(hours=24)
"""java-tron refuses an expiration further ahead of the head block."""
SHARED_SECONDS = 1.0
"""A third of a block: how old a block reference, or what was read of an account, may be that payments share."""
_BLOCK_MILLISECONDS = 3000
_MILLISECOND = timedelta(milliseconds=1)


class TronProvider:
    """Implements :class:`pipeline.chains.provider.Provider`."""

    def __init__(
        self,
        chain: str,
        genesis: str,
        nodes: Sequence[NodeConfig],
        assets: Sequence[Asset],
        *,
        api_keys: Sequence[str] = (),
        clock: Clock | None = None,
        patience: float = PATIENCE,
        death_margin: timedelta = verdict.DEATH_MARGIN,
        shared_seconds: float = SHARED_SECONDS,
    ) -> None:
        """``assets`` are those of :class:`TronCodec`.

        Raises ValueError without nodes or for a genesis id that is not 64 hex digits.
        """
        clock = clock or Clock()
        self._genesis = _genesis(chain, genesis)
        self._nodes = Nodes(
            chain,
            [TronNode(config, api_keys, clock=clock) for config in nodes],
            lambda node: check_genesis(node, self._genesis),
            patience=patience,
            clock=clock,
        )
        self.codec = TronCodec(assets)
        self._balances = balances.reader(self._nodes)
        self._fees = TronFees(clock, self._nodes, shared_seconds)
        self._references = KeptAnswers[None, tuple[BlockRef, BlockRef, Prices]](clock, shared_seconds)
        self._death_margin = death_margin

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    @property
    def requests_per_second(self) -> float | None:
        return self._nodes.requests_per_second

    async def check_network(self) -> None:
        await self._nodes.check_all()

    async def lacks(self) -> Mapping[str, Sequence[MissingCapability]]:
        return {}  # java-tron offers all of it

    async def block_ref(self, finality: Finality) -> BlockRef:
        return await self._nodes.ask(lambda node: node.block_ref(finality))

    async def block(self, number: int, finality: Finality) -> BlockContent | None:
        return await self._nodes.ask(lambda node: blocks.read_block(node, number, finality))

    async def balances(self, queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> list[Balance]:
        return await self._balances.read(queries, finality)

    async def inspect_token(self, contract: str) -> TokenInfo:
        canonical = address.validate(contract)
        return await self._nodes.ask(lambda node: tokens.inspect(node, canonical))

    async def estimate(self, payment: Payment) -> TronFee:
        _check(payment)
        return await self._nodes.ask(lambda node: self._fees.estimate(node, payment))

    async def prepare(
        self, payment: Payment, fee: Fee, lifetime_seconds: float, nonce: int | None = None
    ) -> TronParameters:
        """Refers to the newest solid block and expires ``lifetime_seconds`` after the head block: the chain's clock
        counts, not ours. Raises ValueError for a lifetime outside (0, 24 h)."""
        _check(payment)
        if not isinstance(fee, TronFee):
            raise ValueError(f"a fee of another family given: {fee!r}")  # noqa: TRY004
        if nonce is not None:
            raise ValueError(f"nonce {nonce} given: TRON transactions have none")
        lifetime = timedelta(seconds=lifetime_seconds)
        if not timedelta() < lifetime < LONGEST_LIFETIME:
            raise ValueError(f"lifetime of {lifetime_seconds} s: TRON takes more than 0 and less than 24 hours")

        solid, head, prices = await self._references.get(None, self._read_references)
        return TronParameters(
            ref_block=solid.number,
            ref_block_id=solid.id,
            expiration=head.timestamp + lifetime // _MILLISECOND * _MILLISECOND,
            # The chain does not check it. A random one within the block keeps two equal payments of one moment from
            # being one and the same transaction.
            timestamp=head.timestamp + secrets.randbelow(_BLOCK_MILLISECONDS) * _MILLISECOND,
            fee_limit=fee.fee_limit,
            byte_price=prices.bandwidth,
            activation=prices.activation,
        )

    async def _read_references(self) -> tuple[BlockRef, BlockRef, Prices]:
        """Of one node: behind several, heights go backwards."""

        async def ask(node: TronNode) -> tuple[BlockRef, BlockRef, Prices]:
            solid = await node.block_ref(Finality.FINAL)
            return solid, await node.block_ref(Finality.HEAD), await self._fees.prices()

        return await self._nodes.ask(ask)

    async def broadcast(self, signed: SignedTransaction, repeat: int = 0) -> BroadcastReply:
        return await broadcast(self._nodes, signed, send, repeat)

    async def find(self, txid: str, finality: Finality) -> TransactionResult | None:
        return await self._nodes.ask(lambda node: blocks.read_transaction(node, txid, finality))

    async def find_everywhere(self, txid: str) -> Mapping[str, TransactionResult | None]:
        return await self._nodes.ask_each(lambda node: blocks.read_transaction(node, txid, Finality.FINAL))

    async def verdict(self, signed: SignedTransaction) -> Verdict:
        return await self._nodes.ask(lambda node: verdict.read_verdict(node, signed, self._death_margin))

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


def _check(payment: Payment) -> None:
    """Raises InvalidAddress, ValueError for an amount that is not above 0."""
    for one in (payment.sender, payment.receiver):
        address.to_bytes(one)
    if payment.amount <= 0:
        raise ValueError(f"payment of {payment.amount} raw units: it must be above 0")


def _genesis(chain: str, value: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", value):
        raise ValueError(f"network_id of {chain} is {value!r}: it must be the genesis block id, 64 hex digits")
    return value.lower()
