"""TRON addresses: base58check of 0x41 and the last 20 bytes of keccak256(public key).

Three forms meet here: ``T…`` (34 characters, canonical), ``41…`` (21 bytes, transactions and node
answers) and the bare 20 bytes of logs and call data.
"""

import re
from functools import lru_cache
from hashlib import sha256

import base58

from pipeline.chains.errors import InvalidAddress
from pipeline.curve import PublicKey
from pipeline.curve.keccak import keccak256

PREFIX = b"\x41"
_OLD_TESTNET_PREFIX = 0xA0
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_REMEMBERED = 4096
"""Addresses. One payment converts those of its wallet, token and treasury a dozen times, at 20 µs each."""


def to_bytes(address: str) -> bytes:
    """The 21 bytes of a ``T…`` address. Raises InvalidAddress saying what is wrong with it."""
    if not isinstance(address, str):
        raise InvalidAddress(f"address {address!r} is a {type(address).__name__}, not text")
    return _decoded(address)


@lru_cache(maxsize=_REMEMBERED)
def _decoded(address: str) -> bytes:
    try:
        # b58decode forgives trailing blanks; an address in a table must not differ by them.
        decoded = base58.b58decode(address) if address.isalnum() else None
    except ValueError:
        decoded = None
    if decoded is None:
        raise InvalidAddress(_why_not_base58(address))
    if len(decoded) != 25:
        raise InvalidAddress(_why_wrong_length(address))
    payload, checksum = decoded[:21], decoded[21:]
    if sha256(sha256(payload).digest()).digest()[:4] != checksum:
        raise InvalidAddress(f"address {_shown(address)} has a wrong checksum: a character is mistyped")
    if payload[0] != PREFIX[0]:
        raise InvalidAddress(_why_prefix(address, payload[0]))
    return payload


def to_tail(address: str) -> bytes:
    """The 20 bytes that logs and call data use. Raises InvalidAddress."""
    return to_bytes(address)[1:]


def to_hex(address: str) -> str:
    """``41…``, 42 hex digits. Raises InvalidAddress."""
    return to_bytes(address).hex()


def from_bytes(raw: bytes) -> str:
    """``T…`` of 21 bytes beginning with 0x41, or of 20 bytes. Raises InvalidAddress."""
    if len(raw) == 20:
        raw = PREFIX + raw
    if len(raw) != 21 or raw[:1] != PREFIX:
        raise InvalidAddress(f"{raw.hex()} are not the 21 bytes of a TRON address (41 and 20 bytes)")
    return _encoded(bytes(raw))


@lru_cache(maxsize=_REMEMBERED)
def _encoded(raw: bytes) -> str:
    return base58.b58encode_check(raw).decode()


def from_hex(digits: str) -> str:
    """``T…`` of ``41…``, of 40 hex digits, or of a 32-byte word (log topic). Raises InvalidAddress."""
    try:
        raw = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise InvalidAddress(f"{_shown(digits)} is not hexadecimal") from None
    return from_bytes(raw[12:] if len(raw) == 32 else raw)


def from_public_key(public_key: PublicKey) -> str:
    """The address that a public key controls."""
    return from_bytes(keccak256(public_key.format(compressed=False)[1:])[12:])


def validate(address: str) -> str:
    """The canonical ``T…`` form; accepts ``41…`` hex as well. Raises InvalidAddress."""
    if isinstance(address, str) and len(address) == 42 and address.startswith("41") and _HEX.fullmatch(address):
        return from_hex(address)
    to_bytes(address)
    return address


def _why_not_base58(address: str) -> str:
    if not address:
        return "the address is empty"
    if _looks_evm(address):
        return _evm(address)
    if address.strip() != address:
        return f"address {_shown(address)} has spaces around it"
    if address.lower().startswith(("bc1", "tb1")):
        return f"address {_shown(address)} is a Bitcoin address: a TRON address starts with T"
    return f"address {_shown(address)} is not base58: 0, O, I and l do not occur in a TRON address"


def _why_wrong_length(address: str) -> str:
    if _looks_evm(address):
        return _evm(address)
    if address.startswith("T"):
        return f"address {_shown(address)} has {len(address)} characters: a TRON address has 34"
    return f"address {_shown(address)} is not a TRON address: those start with T and have 34 characters"


def _why_prefix(address: str, prefix: int) -> str:
    if prefix == _OLD_TESTNET_PREFIX:
        return f"address {_shown(address)} has the old TRON testnet form (27…): use the T… form"
    if prefix in (0x00, 0x05):
        return f"address {_shown(address)} is a Bitcoin address: a TRON address starts with T"
    return f"address {_shown(address)} belongs to another chain: its prefix byte is {prefix:02x}, TRON's is 41"


def _looks_evm(address: str) -> bool:
    return address.startswith("0x") or (len(address) == 40 and _HEX.fullmatch(address) is not None)


def _evm(address: str) -> str:
    return f"address {_shown(address)} is an EVM address: a TRON address starts with T and has 34 characters"


def _shown(address: str) -> str:
    return repr(address if len(address) <= 64 else address[:61] + "…")
