"""EVM addresses: 20 bytes, written as 0x and 40 hex digits whose case is a checksum (EIP-55)."""

import re
from functools import lru_cache

from pipeline.chains.errors import InvalidAddress
from pipeline.curve import PublicKey
from pipeline.curve.keccak import keccak256

ZERO = "0x" + "00" * 20

_FORM = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_CASE = 0x20
"""The bit of an ASCII letter that upper case lacks; the bit above it tells letters from digits."""
_LETTERS = int.from_bytes(bytes([_CASE << 1]) * 40, "big")
_UPPER = bytes(_CASE if digit in b"89abcdef" else 0 for digit in range(256))
"""From a digit of the hash to the case bit that the address's digit in its place loses."""
_REMEMBERED = 8192
"""Addresses whose checksummed form is kept: in a block the same tokens and hot wallets occur over and over."""


def to_bytes(address: str) -> bytes:
    """The 20 bytes of an address in any accepted form. Raises InvalidAddress saying what is wrong with it."""
    raw = unchecked(address)
    digits = address[2:]
    if not digits.islower() and not digits.isdecimal() and _checksummed(raw) != address:
        if digits.isupper():
            raise InvalidAddress(f"address {address!r} is all upper case, which is no checksum: write it in lower case")
        raise InvalidAddress(f"address {address!r} has a wrong checksum (EIP-55): a character is mistyped")
    return raw


def from_bytes(raw: bytes) -> str:
    """The checksummed form of 20 bytes. Raises InvalidAddress for another length."""
    if len(raw) != 20:
        raise InvalidAddress(f"{raw.hex()} are {len(raw)} bytes: an EVM address has 20")
    return _remembered(raw)


def from_word(digits: str) -> str:
    """The checksummed form of a node's answer: 20 bytes, or a 32-byte word (log topic) that holds an address.

    Raises InvalidAddress, also when the word's first 12 bytes are not zero.
    """
    try:
        raw = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise InvalidAddress(f"{digits[:80]!r} is not hexadecimal") from None
    if len(raw) == 32 and not any(raw[:12]):
        raw = raw[12:]
    return from_bytes(raw)


def from_public_key(public_key: PublicKey) -> str:
    """The address that a public key controls."""
    return from_bytes(keccak256(public_key.format(compressed=False)[1:])[12:])


def validate(address: str) -> str:
    """The checksummed form. All lower case is accepted, a wrong checksum is not. Raises InvalidAddress."""
    return from_bytes(to_bytes(address))


def unchecked(address: str) -> bytes:
    """The 20 bytes of an address whose checksum was compared before: that takes 20 times as long as all else. Raises
    InvalidAddress for another form."""
    if not isinstance(address, str):
        raise InvalidAddress(f"address {address!r} is a {type(address).__name__}, not text")
    if _FORM.fullmatch(address) is None:
        raise InvalidAddress(_why(address))
    return bytes.fromhex(address[2:])


def _why(address: str) -> str:
    shown = repr(address if len(address) <= 64 else address[:61] + "…")
    if not address:
        return "the address is empty"
    if address.strip() != address:
        return f"address {shown} has spaces around it"
    if address.startswith("T") and len(address) == 34:
        return f"address {shown} is a TRON address: an EVM address starts with 0x and has 40 hex digits"
    if address.lower().startswith(("bc1", "tb1")):
        return f"address {shown} is a Bitcoin address: an EVM address starts with 0x and has 40 hex digits"
    if len(address) == 40 and _HEX.fullmatch(address):
        return f"address {shown} lacks its 0x"
    if address.startswith("0X"):
        return f"address {shown} starts with 0X: write 0x"
    if address.startswith("0x") and _HEX.fullmatch(address[2:] or "0"):
        return f"address {shown} has {len(address) - 2} hex digits: an EVM address has 40"
    if address.startswith("0x"):
        return f"address {shown} has characters that are not hex digits"
    return f"address {shown} is not an EVM address: those start with 0x and have 40 hex digits"


@lru_cache(maxsize=_REMEMBERED)
def _remembered(raw: bytes) -> str:
    return _checksummed(raw)


def _checksummed(raw: bytes) -> str:
    """All 40 digits at once, as one number: this is most of what reading a balance costs here."""
    digits = raw.hex().encode()
    number = int.from_bytes(digits, "big")
    upper = int.from_bytes(keccak256(digits).hex().encode().translate(_UPPER)[:40], "big")
    letters = (number & _LETTERS) >> 1
    return "0x" + (number ^ (upper & letters)).to_bytes(40, "big").decode()
