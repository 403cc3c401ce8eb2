"""secp256k1: keys, signatures that name their key, and the sums that derivation is made of.

libsecp256k1 does it, through one of two bindings, and nothing above imports those. Signatures are deterministic
(RFC 6979) with a low s, so that any sound implementation makes the same bytes; the tests ask others. Lengths are
checked here: a binding may pad what is too short, or ignore what is too long.
"""

import sys
from typing import Self

if sys.version_info >= (3, 14):
    from pipeline.curve import by_btclib as library
else:
    from pipeline.curve import by_coincurve as library

SIGNATURE_BYTES = 65
"""r‖s‖v: 32, 32 and 1."""


class PublicKey:
    """A point of the curve."""

    __slots__ = ("_point",)

    def __init__(self, point: bytes) -> None:
        """``point``: 33 or 65 bytes. Raises ValueError when they are no public key."""
        if len(point) not in (33, 65):
            raise ValueError(f"a public key has 33 or 65 bytes, this one {len(point)}")
        self._point = library.point(point)

    @classmethod
    def recover(cls, digest: bytes, signature: bytes) -> Self:
        """The key that signed the 32-byte ``digest`` with r‖s‖v (v 0 to 3).

        Raises ValueError when the signature is malformed or no key gives it.
        """
        _check_length("digest", digest, 32)
        _check_length("signature", signature, SIGNATURE_BYTES)
        return cls._of(library.recover(digest, signature))

    def format(self, compressed: bool = True) -> bytes:
        """33 bytes, or 65."""
        if not compressed:
            return self._point
        return bytes([2 + self._point[64] % 2]) + self._point[1:33]

    def add(self, scalar: bytes) -> Self:
        """This point plus ``scalar`` (32 bytes) times the generator. Raises ValueError when there is no such key."""
        _check_length("scalar", scalar, 32)
        return self._of(library.add_to_point(self._point, scalar))

    @classmethod
    def _of(cls, point: bytes) -> Self:
        """Of the 65 bytes that the library has just made."""
        made = cls.__new__(cls)
        made._point = point
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._point == other._point

    def __hash__(self) -> int:
        return hash(self._point)

    def __repr__(self) -> str:
        return f"<PublicKey {self.format().hex()}>"


class PrivateKey:
    """A secret number, and its point. Shows and pickles as nothing."""

    __slots__ = ("public_key", "secret")

    def __init__(self, secret: bytes) -> None:
        """``secret``: 32 bytes. Raises ValueError when they are 0 or not below the curve's order."""
        _check_length("private key", secret, 32)
        self.secret = secret
        self.public_key = PublicKey._of(library.point_of(secret))

    def sign(self, digest: bytes) -> bytes:
        """r‖s‖v (v 0 to 3, low s) over a 32-byte ``digest``.

        The key is recovered again before the signature is handed out, as Bitcoin Core does: a fault in the
        computation is a RuntimeError then, and not a leaked key.
        """
        _check_length("digest", digest, 32)
        signature = library.sign(digest, self.secret)
        if library.recover(digest, signature) != self.public_key.format(compressed=False):
            raise RuntimeError("a signature does not name the key that made it; nothing was signed")
        return signature

    def add(self, scalar: bytes) -> "PrivateKey":
        """The key whose number is this one plus ``scalar`` (32 bytes). Raises ValueError when there is no such key."""
        _check_length("scalar", scalar, 32)
        return PrivateKey(library.add_to_secret(self.secret, scalar))

    def __repr__(self) -> str:
        return "<PrivateKey>"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled or copied")


def _check_length(what: str, given: bytes, length: int) -> None:
    if len(given) != length:
        raise ValueError(f"a {what} has {length} bytes, this one {len(given)}")
