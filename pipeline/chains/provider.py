"""The one interface to every chain.

A provider asks nodes: it reads balances and blocks, estimates fees, broadcasts and looks up transactions. It builds and
signs nothing: the bytes are the codec's (``chains.codec``), from what ``prepare`` found out.

Every amount is an ``int`` of raw units: sun or wei for the native coin, the token's own smallest unit
for tokens. Every time is an aware ``datetime`` in UTC.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.chains.codec import Codec, NumberedCodec
from pipeline.chains.fees import EvmParameters, Fee, Parameters
from pipeline.chains.values import (
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


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a chain offers beyond ``Provider``: each the provider itself in that role, None where it has it not."""

    numbered: "NumberedProvider | None" = None
    logs: "LogProvider | None" = None
    heads: "HeadProvider | None" = None
    gas: "GasProvider | None" = None


class Provider(Protocol):
    """A chain. Every method raises ``chains.errors.ChainUnavailable`` when no node gave a usable answer in
    time, and ``chains.errors.WrongNetwork`` when a node turned out to belong to another network."""

    @property
    def codec(self) -> Codec:
        """The encoding of its network."""

    @property
    def capabilities(self) -> Capabilities:
        """What it offers beyond this."""

    @property
    def requests_per_second(self) -> float | None:
        """What the node that is asked first allows; None: as many as it answers."""

    async def check_network(self) -> None:
        """Compare the genesis block id (TRON) or chain id (EVM) of every node with the configured one.

        Raises WrongNetwork naming the node, what it answered and what was expected. A node that does not
        answer is left to failover; if none answers, ChainUnavailable.
        """

    async def lacks(self) -> Mapping[str, Sequence[MissingCapability]]:
        """What nodes do not offer that others do, by node; those that lack nothing, or do not answer, are left out."""

    async def block_ref(self, finality: Finality) -> BlockRef:
        """The newest block of that finality."""

    async def block(self, number: int, finality: Finality) -> BlockContent | None:
        """A block with all its results, None when the node does not have it (yet) at that finality."""

    async def balances(self, queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> list[Balance]:
        """Balances in the order of ``queries``, in as few node calls as possible.

        All of one node call (hundreds) are read at one block; more queries than that may span two, so each
        Balance names its own. A bad address or contract is an error of its own entry.
        """

    async def inspect_token(self, contract: str) -> TokenInfo:
        """What a contract says of itself, for when it is added.

        Raises InvalidAddress, and NotAToken when there is no code or it does not answer as a token does.
        """

    async def estimate(self, payment: Payment) -> Fee:
        """Simulate ``payment`` and price it, whether or not the sender holds a token transfer's fee already.

        Raises SimulationFailed when the chain says it would fail, its subclass InsufficientFunds when the sender
        of a coin payment does not hold amount and fee, NotAToken when nothing is deployed at the contract,
        PermissionChanged when the key of the sender's address cannot sign for it alone (TRON).
        """

    async def prepare(
        self, payment: Payment, fee: Fee, lifetime_seconds: float, nonce: int | None = None
    ) -> Parameters:
        """All that ``codec.build`` takes besides the payment: reference block, expiration and prices of this moment.

        ``nonce`` is the sender's next one on EVM, reserved by the caller; TRON has none. ``lifetime_seconds`` is
        TRON's, where two preparations of one payment make two transactions; on EVM nothing expires, and the same nonce
        makes the same transaction. Raises ValueError for a lifetime that the chain refuses, for a nonce on TRON, for
        none on EVM, and for a fee of another family.
        """

    async def broadcast(self, signed: SignedTransaction, repeat: int = 0) -> BroadcastReply:
        """Send the bytes, to a further node only while the outcome is UNKNOWN, to each node once. ``repeat`` says how
        often they were sent before: each time another healthy node is the first.

        Never raises for what a node or the network does (silence, a ban, another network): that is outcome UNKNOWN.

        Raises InconsistentNode if a node answers with another txid and no other one takes or refuses the bytes.
        """

    async def find(self, txid: str, finality: Finality) -> TransactionResult | None:
        """The result of a transaction in a block of that finality, None if that node has none."""

    async def find_everywhere(self, txid: str) -> Mapping[str, TransactionResult | None]:
        """What each node by itself has of a transaction in its final blocks, None for nothing; by the node's name, each
        asked once. Nodes that do not answer are left out. For what one node's answer is not enough evidence of."""

    async def verdict(self, signed: SignedTransaction) -> Verdict:
        """Prove a transaction final or dead, asking one and the same node for all of the proof."""

    async def receipt_gaps(self) -> Mapping[str, ReceiptGap]:
        """By node that lacks receipts of the newest final block with transactions, what it lacks; each node is asked by
        itself, and those that do not answer are left out."""

    def troubles(self) -> Mapping[str, str]:
        """By node that failed lately, without the parts of its URL that may be secret: how often, and with what. Such a
        node is asked after the others."""

    async def close(self) -> None:
        """Close the connections."""


class NonceCounts(Protocol):
    """How many transactions of an address are counted, by one node at one moment: its next nonce."""

    @property
    def finalized(self) -> int:
        """Below this nothing can change any more."""

    @property
    def latest(self) -> int:
        """In blocks, final or not."""

    @property
    def pending(self) -> int:
        """With those in this node's pool and without a gap; a hint, as other pools may hold more."""

    @property
    def seen(self) -> int:
        """All that this node shows, in blocks or in its pool."""


class NumberedProvider(Provider, Protocol):
    """A chain whose transactions are numbered by their sender and can be replaced by others of that number (EVM)."""

    @property
    def codec(self) -> NumberedCodec:
        """The encoding of its network."""

    async def sender_nonces(self, sender: str) -> NonceCounts:
        """For the reservation of nonces."""

    async def finalized_everywhere(self, sender: str) -> Mapping[str, int]:
        """How many final transactions of an address each node counts, by node; those that do not answer are left
        out."""

    async def count_at(self, sender: str, number: int) -> int | None:
        """How many transactions of an address there were up to block ``number``; None where the node has no state so
        old."""

    async def prepare_replacement(
        self, signed: SignedTransaction, affordable: int | None = None, *, keep_gas_limit: bool = False
    ) -> EvmParameters:
        """What a replacement is built from: same nonce, both fees +15 % and no less than the network asks for now, and
        the gas limit that the payment needs now, no less than before.

        ``affordable`` is what the sender can spend on its fee. ``keep_gas_limit``: nothing is simulated, for a payment
        that would fail now and whose nonce is to be used. Raises SimulationFailed, FeeCapTooLow,
        UndecodableTransaction."""

    async def verdicts(self, attempts: Sequence[SignedTransaction]) -> list[Verdict]:
        """The status of each attempt with one nonce, from one node. The payment is dead when all of them are."""

    async def outpriced(self, signed: SignedTransaction) -> bool:
        """Whether its max fee is below the next block's base fee: it waits until fees fall, or is replaced."""


class LogProvider(Provider, Protocol):
    """A chain whose token transfers can be read over many blocks in few calls, whoever they concern (EVM)."""

    async def transfers(self, first: int, last: int, contracts: Sequence[str]) -> list[TokenTransfer]:
        """The transfers of these tokens in the final blocks ``first`` to ``last``, in their order. Coins are not
        among them. Raises ChainUnavailable also when no node has all of these blocks as final."""


class HeadProvider(Provider, Protocol):
    """A chain of which a node announces new blocks (EVM over a WebSocket)."""

    def heads(self) -> AsyncGenerator[BlockRef, None]:
        """The head now and each new one, for ever: a wake-up, no truth. Raises nothing that a node does."""


class GasPrices(Protocol):
    """What the network asks for now, wei for a unit of gas."""

    @property
    def base(self) -> int | None:
        """Of the next block; None where there is none."""

    @property
    def tip(self) -> int:
        """Paid to the block's producer lately."""

    @property
    def gas_price(self) -> int:
        """The node's own advice for legacy transactions."""


class GasProvider(Provider, Protocol):
    """A chain whose fees are gas at a price, and on a rollup a part for L1 (EVM)."""

    @property
    def gas_cap(self) -> int:
        """The highest max fee of a first attempt, wei for a unit of gas (``fees.cap``)."""

    async def market(self) -> GasPrices:
        """What the network asks for now."""

    async def max_fee(self) -> int:
        """What a transaction offers now, wei for a unit of gas. Raises FeeCapTooLow."""

    async def l1_fee(self, gas_limit: int) -> int:
        """What a rollup charges for the L1 part of a token transfer, wei, margin included; 0 elsewhere."""
