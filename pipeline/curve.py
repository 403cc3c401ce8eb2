"""secp256k1: keys, signatures that name their key, and the sums that derivation is made of.

libsecp256k1 does it, through btclib-secp256k1, and nothing above imports that. Signatures are deterministic
(RFC 6979) with a low s, so that any sound implementation makes the same bytes; the tests ask others.
"""

from typing import Self

from btclib_secp256k1 import keys, recovery

SIGNATURE_BYTES = 65
"""r‖s‖v: 32, 32 and 1."""


class PublicKey:
    """A point of the curve."""

    __slots__ = ("_point",)

    def __init__(self, point: bytes) -> None:
        """``point``: 33 or 65 bytes. Raises ValueError when they are no point."""
        self._point = keys.reserialize(point, compressed=False)

    @classmethod
    def recover(cls, digest: bytes, signature: bytes) -> Self:
        """The key that signed the 32-byte ``digest`` with r‖s‖v (v 0 to 3).

        Raises ValueError when the signature is malformed or no key gives it.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
        return cls._of(recovery.recover(digest, signature[:64], signature[64], compressed=False))

    def format(self, compressed: bool = True) -> bytes:
        """33 bytes, or 65."""
        if not compressed:
            return self._point
        return bytes([2 + self._point[64] % 2]) + self._point[1:33]

    def add(self, scalar: bytes) -> Self:
        """This point plus ``scalar`` times the generator. Raises ValueError when there is no such key."""
        return self._of(keys.pubkey_tweak_add(self._point, scalar, compressed=False))

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
        self.secret = secret
        self.public_key = PublicKey._of(keys.pubkey_from_prvkey(secret, compressed=False))

    def sign(self, digest: bytes) -> bytes:
        """r‖s‖v (v 0 to 3, low s) over a 32-byte ``digest``. The library recovers the key again before it answers."""
        compact, v = recovery.sign(digest, self.secret, pubkey=self.public_key.format(compressed=False))
        return compact + bytes([v])

    def add(self, scalar: bytes) -> "PrivateKey":
        """The key whose number is this one plus ``scalar``. Raises ValueError when there is no such key."""
        return PrivateKey(keys.prvkey_tweak_add(self.secret, scalar))

    def __repr__(self) -> str:
        return "<PrivateKey>"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled or copied")
