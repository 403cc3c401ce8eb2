"""A network's transactions as bytes: addresses, building, reading, signatures. Pure: no node, no clock, no database,
so that a process without a network can build and check what it signs.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from pipeline.chains.fees import Parameters
from pipeline.chains.values import Asset, Cost, Family, Payment, SignedTransaction, UnsignedTransaction


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


def codec_of(family: str, network_id: str, assets: Sequence[Asset] = ()) -> Codec:
    """The codec of a network. ``network_id``: the genesis block id on TRON, the chain id on EVM. ``assets``: what
    ``decode`` names; others are "token".

    Raises ValueError for another family and for a network id of another form, InvalidAddress for a contract.
    """
    maker = _FAMILIES.get(family)
    if maker is None:
        raise ValueError(f"family {family!r} has no codec: {', '.join(sorted(_FAMILIES))} have one")
    return maker(network_id, assets)


# A family's libraries are imported when a network of it is used.


def _tron(network_id: str, assets: Sequence[Asset]) -> Codec:
    from pipeline.chains.tron.codec.codec import TronCodec

    return TronCodec(assets)  # the genesis block is not in the bytes: a transaction refers to a block of its network


def _evm(network_id: str, assets: Sequence[Asset]) -> Codec:
    from pipeline.chains.evm.codec.codec import EvmCodec

    if not network_id.isascii() or not network_id.isdecimal():
        raise ValueError(f"network_id is {network_id!r}: it must be the chain id, a number")
    return EvmCodec(int(network_id), assets)


_FAMILIES: dict[str, Callable[[str, Sequence[Asset]], Codec]] = {"evm": _evm, "tron": _tron}
