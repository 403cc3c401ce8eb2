"""Addresses, hashes and keys as TRON writes them.

Inside the devnet an address is its 21 raw bytes (0x41 and 20 bytes).
"""

import hashlib
from functools import lru_cache

import base58
from Crypto.Hash import keccak

from pipeline.curve import PrivateKey, PublicKey

PREFIX = b"\x41"
BLACKHOLE = PREFIX + bytes(20)
"""Where burned fees go; nobody has its key."""


class BadAddress(ValueError):
    """Text that is no TRON address; the message is java-tron's."""


def keccak256(data: bytes) -> bytes:
    # The simulated network's own and not pipeline.curve's: what judges our bytes shares no code with what makes them.
    return keccak.new(digest_bits=256, data=data).digest()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@lru_cache(maxsize=65_536)
def base58_address(address: bytes) -> str:
    return base58.b58encode_check(address).decode()


@lru_cache(maxsize=65_536)
def parse_address(text: str, visible: bool) -> bytes:
    """The raw address: from base58check when ``visible``, else from hex with 41 in front, as java-tron reads it.

    Raises BadAddress."""
    if not visible:
        raw = parse_hex(text)
    else:
        try:
            raw = base58.b58decode_check(text)
        except ValueError as error:
            raise BadAddress(f"invalid base58check address {text}") from error
    if not is_address(raw):
        raise BadAddress(f"invalid address {text}")
    return raw


def parse_hex(text: str) -> bytes:
    """Bytes of a hex string, 0x allowed. Raises BadAddress."""
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise BadAddress(f"exception decoding Hex string: {text[:64]}") from error


def is_address(raw: bytes) -> bool:
    return len(raw) == 21 and raw[:1] == PREFIX


def evm_address(address: bytes) -> str:
    return "0x" + address[1:].hex()


def from_evm(address: str) -> bytes:
    return PREFIX + bytes.fromhex(address[2:])


def contract_address(txid: bytes, owner: bytes) -> bytes:
    """Where TRON puts the contract that transaction ``txid`` of ``owner`` creates."""
    return PREFIX + keccak256(txid + owner)[12:]


def address_of(key: PrivateKey) -> bytes:
    return _address_of_public(key.public_key)


def recover(digest: bytes, signature: bytes) -> bytes:
    """The signer of ``digest``. Raises ValueError when the signature is malformed."""
    if len(signature) < 65:
        raise ValueError(f"Signature size is {len(signature)}")
    v = signature[64]
    recovery = v - 27 if v >= 27 else v
    if recovery not in (0, 1, 2, 3):
        raise ValueError(f"Header byte out of range: {v}")
    try:
        public = PublicKey.recover(digest, signature[:64] + bytes([recovery]))
    except ValueError as error:
        raise ValueError("Could not recover public key from signature") from error
    return _address_of_public(public)


def sign(key: PrivateKey, digest: bytes) -> bytes:
    """r‖s‖v over ``digest``, v 27 or 28."""
    raw = key.sign(digest)
    return raw[:64] + bytes([raw[64] + 27])


def _address_of_public(public: PublicKey) -> bytes:
    return PREFIX + keccak256(public.format(compressed=False)[1:])[12:]
