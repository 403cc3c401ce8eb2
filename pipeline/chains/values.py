"""The values that cross the interface to a chain.

Every amount is an ``int`` of raw units: sun or wei for the native coin, the token's smallest unit (10**-decimals)
for tokens. Every time is an aware ``datetime`` in UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Family(StrEnum):
    """Chains that share keys, address form and encoding."""

    TRON = "tron"
    EVM = "evm"


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
    is_checked: bool = False
    """The address was read before as it is here: a checksum that takes long to compute is not compared again."""


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

    def does_as(self, other: "Payment") -> bool:
        """Whether both move the same: of the asset only the contract counts."""
        return (self.sender, self.receiver, self.asset.contract, self.amount) == (
            other.sender,
            other.receiver,
            other.asset.contract,
            other.amount,
        )


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

    payments: tuple[Payment, ...]
    """What they do; one on TRON and EVM."""
    raw: bytes
    """Serialized without signature (TRON: ``raw_data``)."""
    digests: tuple[bytes, ...]
    """The 32 bytes to sign, for each signature that it takes; one on TRON and EVM."""
    fee_cap: int
    """The most this transaction can cost its sender, native raw units; of a rollup's fee for L1, which nothing in the
    bytes bounds, what was estimated."""
    expiration: datetime | None = None
    """TRON: the chain refuses it in blocks from this time on."""
    ref_block: int | None = None
    """TRON: height of the solid block it refers to (TAPOS). EVM: a height that was final when it was built, so that
    it can be in no block up to there."""
    nonce: int | None = None
    """EVM."""

    @property
    def payment(self) -> Payment:
        """The only one. Raises ValueError where there are several."""
        (payment,) = self.payments
        return payment

    @property
    def digest(self) -> bytes:
        """The only one. Raises ValueError where several signatures are needed."""
        (digest,) = self.digests
        return digest


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
    """Tokens or coins that a transaction moved: who, to whom, what, and where in the transaction it says so."""

    contract: str | None
    """None: the native coin."""
    sender: str
    receiver: str
    amount: int
    place: str | None
    """``v``: the transaction's own value; ``l3``: the log at position 3 of its receipt; ``i3``: the internal transfer
    at position 3; ``o3``: the output at position 3; positions count from 0 in the transaction, so that a reorg that
    takes it into another block changes none. Txid and place name an effect for good. None: read where no receipt was
    at hand (logs of many blocks)."""

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
    """Its ``contract`` is a token's; it has no place."""


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
    """Of any number of payments, in the order of their places."""
    message: str = ""
    """The chain's word for a failure, e.g. ``OUT_OF_ENERGY``, ``REVERT``."""
    sender: str | None = None
    """EVM: whose nonce it used."""
    nonce: int | None = None
    authorizations: tuple[Authorization, ...] = ()
    """EVM: whose nonces it may have used beside; also where it failed."""

    def __post_init__(self) -> None:
        """Raises ValueError for a fee that no chain can have taken: a node made it up; and for two effects in one
        place."""
        if self.fee < 0:
            raise ValueError(f"a negative fee, {self.fee}")
        places = [effect.place for effect in self.effects]
        if len(set(places)) != len(places):
            raise ValueError(f"two effects in one place of transaction {self.txid}: {places}")

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


class Proof(StrEnum):
    """What can be proved of a transaction by one node's final blocks."""

    FINAL = "final"
    """In a final block (``result`` says how it went)."""
    DEAD = "dead"
    """In no final block, and no later block can take it."""
    OPEN = "open"
    """Neither can be proved yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    proof: Proof
    result: TransactionResult | None = None
    """Set when ``proof`` is FINAL."""
    evidence: str = ""
    """For people: which node and which block said so."""


@dataclass(frozen=True, slots=True)
class MissingCapability:
    """Something that a node does not offer."""

    what: str
    said: str
    """The node's own words, or ``null``."""
    without: str
    """What that means, and what to do."""
    is_essential: bool
    """Whether nothing works without it."""
