"""Keccak-256 as Ethereum and TRON use it: the padding of the submission, not of SHA-3 (FIPS 202)."""

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """The 32-byte hash."""
    return keccak.new(digest_bits=256, data=data).digest()
