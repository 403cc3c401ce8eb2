"""The one interface to every chain, and the values that cross it.

A provider reads balances and blocks, estimates fees, builds, broadcasts and looks up transactions.
It knows no database and never sees a private key: it hands out the digest that has to be signed and
takes the signature back.

Every amount is an ``int`` of raw units: sun or wei for the native coin, the token's own smallest unit
for tokens. Every time is an aware ``datetime`` in UTC.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Finality(StrEnum):
    """How sure a read must be."""

    HEAD = "head"
    """The newest block the node has; may still be forked away."""
    FINAL = "final"
    """Solidified on TRON, ``finalized`` on EVM. Flags and settlements use nothing else."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block by height and hash."""

    number: int
    id: str
    """64 hex digits, without 0x on TRON."""
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Asset:
    """What is moved: the native coin (``contract is None``) or a token."""

    symbol: str
    decimals: int
    contract: str | None = None
    tolerance: int = 0
    """Raw units that a transfer may arrive short or over: of tokens that are kept as shares, which round (stETH)."""

    @property
    def is_native(self) -> bool:
        return self.contract is None


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token as its contract describes it."""

    contract: str
    """In canonical form."""
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class BalanceQuery:
    """One balance to read."""

    address: str
    asset: Asset


@dataclass(frozen=True, slots=True)
class Balance:
    """The answer to one :class:`BalanceQuery`; exactly one of ``raw`` and ``error`` is set."""

    raw: int | None
    """Raw units at ``block``."""
    block: BlockRef | None
    error: str | None = None
    """Why this one could not be read (bad checksum, contract is not a token); the others of the call still count."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What a transaction is to do. No more and no less may happen when it is signed."""

    sender: str
    receiver: str
    asset: Asset
    amount: int
    """Raw units, greater than zero."""


@dataclass(frozen=True, slots=True)
class FeeEstimate:
    """What a payment costs at this moment, by simulation with the real sender, receiver and amount."""

    fee: int
    """Native raw units the sender needs to hold (energy and bandwidth burned, account creation), margin included."""
    fee_limit: int
    """The cap to build the transaction with (TRON ``fee_limit`` in sun, 0 for a plain coin transfer; EVM: ``fee``)."""
    energy: int = 0
    bandwidth: int = 0
    """Bytes that are paid for; 0 when the free allowance covers them."""
    activation: int = 0
    """Part of ``fee`` that creates the receiver's account, in native raw units."""
    receiver_signs: bool = True
    """TRON, of a coin payment: whether the key of the receiver's address alone can act for it. False: somebody has
    changed its owner permission, and who has only that key gets nothing out again."""
    gas_limit: int = 0
    """EVM."""
    max_fee: int = 0
    """EVM, wei for a unit of gas, tip included; a legacy transaction's gas price. ``fee`` is gas_limit × max_fee and
    ``l1_fee``."""
    tip: int | None = None
    """EVM, wei for a unit of gas to the block's producer (EIP-1559). None: a legacy transaction is built."""
    l1_fee: int = 0
    """Part of ``fee`` that a rollup charges for its data on L1 beside gas, native raw units."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that a transaction can cost its sender besides what it sends, read from its own bytes."""

    fee: int
    """Native raw units."""
    gas: int | None = None
    """EVM: units of gas."""


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """Bytes built here, and what was built into them."""

    payment: Payment
    raw: bytes
    """Serialized without signature (TRON: ``raw_data``)."""
    digest: bytes
    """The 32 bytes to sign."""
    fee_cap: int
    """The most this transaction can cost its sender, native raw units; of a rollup's fee for L1, which nothing in the
    bytes bounds, what is reckoned with."""
    expiration: datetime | None = None
    """TRON: the chain refuses it in blocks from this time on."""
    ref_block: int | None = None
    """TRON: height of the solid block it refers to (TAPOS). EVM: a height that was final when it was built, so that
    it can be in no block up to there."""
    nonce: int | None = None
    """EVM."""
    l1_fee: int = 0
    """EVM: part of ``fee_cap``, see :class:`FeeEstimate`."""


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What is kept before anything is sent, and sent byte for byte ever after."""

    txid: str
    """Computed here from ``raw``; never taken from a node. Lower-case hex, without 0x on TRON."""
    raw: bytes
    """The bytes that go to the node, signature included."""
    sender: str
    fee_cap: int
    expiration: datetime | None = None
    ref_block: int | None = None
    nonce: int | None = None


class BroadcastOutcome(StrEnum):
    """What a node's answer to a broadcast says. None of them proves that the payment will not happen."""

    ACCEPTED = "accepted"
    """Pooled by the node; not more."""
    KNOWN = "known"
    """The node remembers this txid (DUP_TRANSACTION_ERROR, "already known"): proves nothing."""
    REFUSED = "refused"
    """This node did not pool it, with a reason; another node may have. On TRON it is a reason against the payment
    (permission, balance, bandwidth): signed anew it would be refused as well, until that changes."""
    OUTDATED = "outdated"
    """This node did not pool it because these bytes are too old or refer to a block that it does not have (TRON)."""
    UNKNOWN = "unknown"
    """No usable answer: timeout, reset, 5xx, busy."""


@dataclass(frozen=True, slots=True)
class BroadcastReply:
    outcome: BroadcastOutcome
    code: str
    """The chain's own code, e.g. ``SUCCESS``, ``SIGERROR``, ``TRANSACTION_EXPIRATION_ERROR``, ``timeout``."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """Tokens or coins that a transaction moved, from its Transfer logs or its own value."""

    contract: str | None
    """None: the native coin."""
    sender: str
    receiver: str
    amount: int

    def __post_init__(self) -> None:
        """Raises ValueError for an amount that no chain can have moved: a node made it up."""
        if self.amount < 0:
            raise ValueError(f"a negative amount, {self.amount}")


@dataclass(frozen=True, slots=True)
class TokenTransfer:
    """A Transfer log in a final block."""

    block: int
    txid: str
    effect: Effect
    """Its ``contract`` is a token's."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """EVM: a delegation (EIP-7702) that an account signed and a transaction carried. If the chain accepted it, it used
    the account's nonce."""

    authority: str
    """The account."""
    nonce: int
    delegate: str
    """The contract whose code the account takes for its own; address zero: none any more."""


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """A transaction found in a block."""

    txid: str
    block: BlockRef
    success: bool
    """Executed without error. Money moved only if the wanted effect is in ``effects`` too."""
    fee: int
    """Native raw units that it cost its sender, all parts together."""
    effects: tuple[Effect, ...]
    message: str = ""
    """The chain's word for a failure, e.g. ``OUT_OF_ENERGY``, ``REVERT``."""
    sender: str | None = None
    """EVM: whose nonce it used."""
    nonce: int | None = None
    authorizations: tuple[Authorization, ...] = ()
    """EVM: whose nonces it may have used beside; also where it failed."""

    def __post_init__(self) -> None:
        """Raises ValueError for a fee that no chain can have taken: a node made it up."""
        if self.fee < 0:
            raise ValueError(f"a negative fee, {self.fee}")

    def moved(self, payment: Payment) -> int | None:
        """What arrived of a payment, raw units: its amount, within its asset's tolerance. None: it did not happen."""
        if not self.success:
            return None
        wanted = (payment.asset.contract, payment.sender, payment.receiver)
        moved = [one.amount for one in self.effects if (one.contract, one.sender, one.receiver) == wanted]
        closest = min(moved, key=lambda amount: abs(amount - payment.amount), default=None)
        return closest if closest is not None and abs(closest - payment.amount) <= payment.asset.tolerance else None

    def did(self, payment: Payment) -> bool:
        """Whether the payment happened: success and the effect that was wanted."""
        return self.moved(payment) is not None

    def did_only(self, payment: Payment) -> bool:
        """Whether the payment happened, and moved nothing else."""
        return len(self.effects) == 1 and self.did(payment)


@dataclass(frozen=True, slots=True)
class BlockContent:
    """One block and the result of every transaction in it."""

    block: BlockRef
    parent_id: str
    transactions: tuple[TransactionResult, ...]
    unreadable: frozenset[str] = frozenset()
    """Ids of transactions that are in the block and whose result could not be understood. They prove nothing, neither
    that they succeeded nor that they are not there; those of others are nobody's concern."""


@dataclass(frozen=True, slots=True)
class ReceiptGap:
    """Receipts that a node lacks of the transactions in a block."""

    said: str
    """Naming node and block."""
    everything: bool
    """It has no receipt of that block at all."""


class Fate(StrEnum):
    """What can be proved of a transaction by one node's final blocks."""

    FINAL = "final"
    """In a final block (``result`` says how it went)."""
    DEAD = "dead"
    """In no final block, and no later block can take it."""
    OPEN = "open"
    """Neither can be proved yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    fate: Fate
    result: TransactionResult | None = None
    """Set when ``fate`` is FINAL."""
    evidence: str = ""
    """For people: which node and which block said so."""


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that a node does not offer."""

    what: str
    said: str
    """The node's own words, or ``null``."""
    without: str
    """What that means, and what to do."""
    is_essential: bool
    """Whether nothing works without it."""


class Provider(Protocol):
    """A chain. Every method raises ``chains.errors.ChainUnavailable`` when no node gave a usable answer in
    time, and ``chains.errors.WrongNetwork`` when a node turned out to belong to another network."""

    async def check_network(self) -> None:
        """Compare the genesis block id (TRON) or chain id (EVM) of every node with the configured one.

        Raises WrongNetwork naming the node, what it answered and what was expected. A node that does not
        answer is left to failover; if none answers, ChainUnavailable.
        """

    async def lacks(self) -> Mapping[str, Sequence[Lack]]:
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

    async def estimate(self, payment: Payment) -> FeeEstimate:
        """Simulate ``payment`` and price it, whether or not the sender holds a token transfer's fee already.

        Raises SimulationFailed when the chain says it would fail, its subclass InsufficientFunds when the sender
        of a coin payment does not hold amount and fee, NotAToken when nothing is deployed at the contract,
        PermissionChanged when the key of the sender's address cannot sign for it alone (TRON).
        """

    async def build(
        self, payment: Payment, estimate: FeeEstimate, lifetime_seconds: float, nonce: int | None = None
    ) -> UnsignedTransaction:
        """Build the bytes here, from local encoding only; nothing a node proposes is signed.

        ``nonce`` is the sender's next one on EVM, reserved by the caller; TRON has none. ``lifetime_seconds`` is
        TRON's, where two builds of one payment are two transactions; on EVM nothing expires, and the same nonce
        makes the same transaction. Raises ValueError for a lifetime that the chain refuses, for a nonce on TRON
        and for none on EVM.
        """

    def attach(self, unsigned: UnsignedTransaction, signature: bytes) -> SignedTransaction:
        """Join bytes and the 65-byte signature r‖s‖v; checks that it recovers to the sender.

        Raises BadSignature."""

    def decode(self, raw: bytes, sender: str | None = None) -> Payment:
        """Read back what signed bytes (or ``UnsignedTransaction.raw``) would do. Of the asset only the contract counts:
        it may have been added after the provider was made. Unsigned EVM bytes do not say whom they will be from, the
        signature does: give ``sender``, which ``attach`` then holds against the signature.

        Raises UndecodableTransaction when they do anything but one payment, or are from another than ``sender``."""

    def cost_of(self, raw: bytes) -> Cost:
        """The most that signed bytes (or ``UnsignedTransaction.raw``) can cost by what stands in them, whatever a node
        says of prices. Raises UndecodableTransaction."""

    def txid_of(self, raw: bytes) -> str:
        """The txid of signed bytes. Raises UndecodableTransaction."""

    async def broadcast(self, signed: SignedTransaction, repeat: int = 0) -> BroadcastReply:
        """Send the bytes, to a further node only while the outcome is UNKNOWN, to each node once. ``repeat`` says how
        often they were sent before: each time another healthy node is the first.

        Never raises for what a node or the network does (silence, a ban, another network): that is outcome UNKNOWN.

        Raises LyingNode if a node answers with another txid and no other one takes or refuses the bytes.
        """

    async def find(self, txid: str, finality: Finality) -> TransactionResult | None:
        """The result of a transaction in a block of that finality, None if that node has none."""

    async def find_everywhere(self, txid: str) -> Mapping[str, TransactionResult | None]:
        """What each node by itself has of a transaction in its final blocks, None for nothing; by the node's name, each
        asked once. Nodes that do not answer are left out. For what the word of one node is not enough."""

    async def verdict(self, signed: SignedTransaction) -> Verdict:
        """Prove a transaction final or dead, asking one and the same node for all of the proof (money.md 4, 5)."""

    async def receipt_gaps(self) -> Mapping[str, ReceiptGap]:
        """By node that lacks receipts of the newest final block with transactions, what it lacks; each node is asked by
        itself, and those that do not answer are left out."""

    def troubles(self) -> Mapping[str, str]:
        """By node that failed lately, without the parts of its URL that may be secret: how often, and with what. Such a
        node is asked after the others."""

    def validate_address(self, address: str) -> str:
        """The canonical form of ``address``. Raises InvalidAddress saying what is wrong (checksum, other chain)."""

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
    def announces_blocks(self) -> bool:
        """Whether a node of it has a socket for ``heads``; elsewhere that polls."""

    def heads(self) -> AsyncGenerator[BlockRef, None]:
        """The head now and each new one, for ever: a wake-up, no truth. Raises nothing that a node does."""

    async def sender_nonces(self, sender: str) -> NonceCounts:
        """For the reservation of nonces."""

    async def finalized_everywhere(self, sender: str) -> Mapping[str, int]:
        """How many final transactions of an address each node counts, by node; those that do not answer are left
        out."""

    async def count_at(self, sender: str, number: int) -> int | None:
        """How many transactions of an address there were up to block ``number``; None where the node has no state so
        old."""

    def renumber(self, unsigned: UnsignedTransaction, nonce: int) -> UnsignedTransaction:
        """The same payment with another nonce. Asks no node."""

    async def bump(
        self, signed: SignedTransaction, affordable: int | None = None, *, keep_gas_limit: bool = False
    ) -> UnsignedTransaction:
        """A replacement: same nonce, same payment, both fees +15 % and no less than the network asks for now, and the
        gas limit that the payment needs now, no less than before.

        ``affordable`` is what the sender can spend on its fee. ``keep_gas_limit``: nothing is simulated, for a payment
        that would fail now and whose nonce is to be used. Raises SimulationFailed, FeeCapTooLow."""

    async def verdicts(self, attempts: Sequence[SignedTransaction]) -> list[Verdict]:
        """The fates of all attempts with one nonce, from one node. The payment is dead when all of them are."""

    async def outpriced(self, signed: SignedTransaction) -> bool:
        """Whether the next block is too dear for it: it waits until fees fall, or is replaced."""


class LogProvider(Provider, Protocol):
    """A chain whose token transfers can be read over many blocks in few calls, whoever they concern (EVM)."""

    async def transfers(self, first: int, last: int, contracts: Sequence[str]) -> list[TokenTransfer]:
        """The transfers of these tokens in the final blocks ``first`` to ``last``, in their order. Coins are not
        among them. Raises ChainUnavailable also when no node has all of these blocks as final."""
