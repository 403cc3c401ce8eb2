"""A family's addresses: checked, and made of public keys. Pure."""

from collections.abc import Callable, Mapping

from pipeline.chains.evm.codec import address as evm
from pipeline.chains.tron.codec import address as tron
from pipeline.chains.values import Family
from pipeline.curve import PublicKey

_VALIDATE: Mapping[Family, Callable[[str], str]] = {Family.TRON: tron.validate, Family.EVM: evm.validate}
_OF_KEY: Mapping[Family, Callable[[PublicKey], str]] = {
    Family.TRON: tron.from_public_key,
    Family.EVM: evm.from_public_key,
}


def validate_address(family: Family, address: str) -> str:
    """The canonical form of ``address``. Raises InvalidAddress saying what is wrong (checksum, other chain)."""
    return _VALIDATE[family](address)


def address_of(family: Family, public_key: PublicKey) -> str:
    """The address of a public key in the family's canonical form."""
    return _OF_KEY[family](public_key)
