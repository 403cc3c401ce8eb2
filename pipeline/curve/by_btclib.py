"""libsecp256k1 through btclib-secp256k1, where coincurve has no wheel (CPython 3.14 and newer)."""

from btclib_secp256k1 import keys, recovery


def point(encoded: bytes) -> bytes:
    return keys.reserialize(encoded, compressed=False)


def point_of(secret: bytes) -> bytes:
    return keys.pubkey_from_prvkey(secret, compressed=False)


def add_to_point(encoded: bytes, scalar: bytes) -> bytes:
    return keys.pubkey_tweak_add(encoded, scalar, compressed=False)


def add_to_secret(secret: bytes, scalar: bytes) -> bytes:
    made = keys.prvkey_tweak_add(secret, scalar)
    assert made is not None  # noqa: S101 — None only where the caller brings a buffer
    return made


def sign(digest: bytes, secret: bytes) -> bytes:
    compact, v = recovery.sign(digest, secret, verify=False)  # the caller does, for both libraries
    return compact + bytes([v])


def recover(digest: bytes, signature: bytes) -> bytes:
    return recovery.recover(digest, signature[:64], signature[64], compressed=False)
