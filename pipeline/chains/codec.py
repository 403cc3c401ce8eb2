"""A network's transactions as bytes: addresses, building, reading, signatures. Pure: no node, no clock, no database,
so that a process without a network can build and check what it signs.
"""

from typing import Protocol, runtime_checkable

from pipeline.chains.fees import Parameters
from pipeline.chains.values import Cost, Family, Payment, SignedTransaction, UnsignedTransaction


class Codec(Protocol):
    """The encoding of one network."""

    @property
    def family(self) -> Family:
        """The chains that share keys, addresses and encoding with it."""

    def validate_address(self, address: str) -> str:
        """The canonical form of ``address``. Raises InvalidAddress saying what is wrong (checksum, other chain)."""

    def build(self, payment: Payment, parameters: Parameters) -> UnsignedTransaction:
        """The bytes of a payment.

        Raises InvalidAddress, ValueError for a number out of range and for parameters of another family.
        """

    def attach(self, unsigned: UnsignedTransaction, signature: bytes) -> SignedTransaction:
        """Join bytes and the 65-byte signature r‖s‖v; checks that it recovers to the sender.

        Raises BadSignature."""

    def decode(self, raw: bytes, sender: str | None = None) -> Payment:
        """Read back what signed bytes (or ``UnsignedTransaction.raw``) would do. Of the asset only the contract counts:
        it may have been added after the codec was made. Unsigned EVM bytes do not say whom they will be from, the
        signature does: give ``sender``, which ``attach`` then holds against the signature.

        Raises UndecodableTransaction when they do anything but one payment, or are from another than ``sender``."""

    def cost_of(self, raw: bytes) -> Cost:
        """The most that signed bytes (or ``UnsignedTransaction.raw``) can cost by what stands in them, whatever a node
        says of prices. Raises UndecodableTransaction."""

    def txid_of(self, raw: bytes) -> str:
        """The txid of signed bytes. Raises UndecodableTransaction."""


@runtime_checkable
class NumberedCodec(Codec, Protocol):
    """Of transactions that are numbered by their sender (EVM)."""

    def renumber(self, unsigned: UnsignedTransaction, nonce: int) -> UnsignedTransaction:
        """The same payment with another nonce."""

    def nonce_of(self, raw: bytes) -> int:
        """The nonce in signed bytes. Raises UndecodableTransaction."""
