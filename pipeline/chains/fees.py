"""What a payment costs and what its transaction is built from: a type for each family, with one common face.

Amounts are raw units of the native coin (sun, wei) unless a field says otherwise.
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol


class Fee(Protocol):
    """The fee of one payment at this moment, by simulation with the real sender, receiver and amount."""

    @property
    def fee(self) -> int:
        """What the sender has to hold for the fee, margin included."""

    @property
    def highest(self) -> int:
        """The most that the transaction is allowed to burn, whoever provides the resources; no less than ``fee``."""

    @property
    def rises(self) -> bool:
        """Whether the same payment may cost more some blocks later, so that who sends coins for it adds a margin."""


@dataclass(frozen=True, slots=True)
class TronFee:
    """Energy, bandwidth and activation."""

    rises: ClassVar[bool] = False

    fee: int
    """Sun: energy and bandwidth burned, account creation."""
    fee_limit: int
    """Sun: the cap to build the transaction with; 0 for a plain coin transfer."""
    energy: int = 0
    bandwidth: int = 0
    """Bytes that are paid for; 0 when the free allowance covers them."""
    activation: int = 0
    """Part of ``fee`` that creates the receiver's account."""
    receiver_signs: bool = True
    """Of a coin payment: whether the key of the receiver's address alone can act for it. False: its owner permission
    was changed, and who has only that key gets nothing out again."""

    @property
    def highest(self) -> int:
        return max(self.fee, self.fee_limit)


@dataclass(frozen=True, slots=True)
class EvmFee:
    """Gas at a price, and a rollup's fee for its data on L1."""

    rises: ClassVar[bool] = True

    gas_limit: int
    max_fee: int
    """Wei for a unit of gas, tip included; a legacy transaction's gas price."""
    tip: int | None = None
    """Wei for a unit of gas to the block's producer (EIP-1559). None: a legacy transaction."""
    l1_fee: int = 0
    """Part of ``fee`` that a rollup charges beside gas."""

    @property
    def fee(self) -> int:
        return self.gas_limit * self.max_fee + self.l1_fee

    @property
    def highest(self) -> int:
        return self.fee


@dataclass(frozen=True, slots=True)
class TronParameters:
    """What a TRON transaction says besides the payment."""

    ref_block: int
    """Height of the solid block that it refers to (TAPOS)."""
    ref_block_id: str
    """64 hex digits."""
    expiration: datetime
    """The chain refuses it in blocks from this time on; in whole milliseconds."""
    timestamp: datetime
    """Not checked by the chain: it tells two equal payments of one moment apart."""
    fee_limit: int = 0
    """Sun; 0 for TRX."""
    byte_price: int | None = None
    """Sun, as nodes say; only for ``fee_cap``. None: the main network's."""
    activation: int | None = None
    """Sun, as nodes say; only for ``fee_cap``. None: the main network's."""


@dataclass(frozen=True, slots=True)
class EvmParameters:
    """What an EVM transaction says besides the payment and the chain id."""

    nonce: int
    gas_limit: int
    max_fee: int
    """Wei for a unit of gas, tip included; a legacy transaction's gas price."""
    tip: int | None = None
    """None: a legacy transaction is built."""
    l1_fee: int = 0
    """Not in the bytes; only for ``fee_cap``."""
    ref_block: int | None = None
    """Not in the bytes: a height that was final before, so that the transaction is in no block up to there."""

    def numbered(self, nonce: int) -> "EvmParameters":
        """The same with another nonce."""
        return replace(self, nonce=nonce)


Parameters = TronParameters | EvmParameters
"""What ``Codec.build`` takes; each codec takes those of its family."""


def told_of(values: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, as they are."""
    return {one.name: getattr(values, one.name) for one in fields(values)}
