"""libsecp256k1 through coincurve, where it has a wheel (CPython 3.11 to 3.13)."""

from coincurve import PrivateKey, PublicKey


def point(encoded: bytes) -> bytes:
    return PublicKey(encoded).format(compressed=False)


def point_of(secret: bytes) -> bytes:
    return PublicKey.from_secret(secret).format(compressed=False)


def add_to_point(encoded: bytes, scalar: bytes) -> bytes:
    return PublicKey(encoded).add(scalar).format(compressed=False)


def add_to_secret(secret: bytes, scalar: bytes) -> bytes:
    return PrivateKey(secret).add(scalar).secret


def sign(digest: bytes, secret: bytes) -> bytes:
    return PrivateKey(secret).sign_recoverable(digest, hasher=None)


def recover(digest: bytes, signature: bytes) -> bytes:
    return PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed=False)
