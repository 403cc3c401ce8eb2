"""The private keys of this process. Nothing outside of this room uses one: it asks a signer (``signing.request``)."""

from pipeline.chains.values import Family
from pipeline.curve import PrivateKey
from pipeline.keys.mnemonic import to_seed
from pipeline.keys.private import PrivateBranch
from pipeline.redaction import register_key

_KEYS_KEPT = 256
"""Derived private keys remembered; the gas station's signs most, a wallet's own once in a while."""


class Keyring:
    """The mnemonic's branches."""

    __slots__ = ("_branches", "_keys", "_seed")

    def __init__(self, mnemonic: str) -> None:
        """Raises InvalidMnemonic."""
        self._seed = to_seed(mnemonic)
        self._branches: dict[Family, PrivateBranch] = {}
        self._keys: dict[tuple[Family, int], PrivateKey] = {}

    def address(self, family: Family, index: int) -> str:
        """The address whose key is at ``index``."""
        return self._branch(family).public.address(index)

    def sign(self, family: Family, index: int, digest: bytes) -> bytes:
        """The 65-byte signature r‖s‖v (v 0 or 1, low s) of a 32-byte digest; of the same one always the same."""
        if len(digest) != 32:
            raise ValueError(f"a digest has 32 bytes, this one {len(digest)}")
        return self._key(family, index).sign(digest)

    def _branch(self, family: Family) -> PrivateBranch:
        if family not in self._branches:
            self._branches[family] = PrivateBranch.from_seed(self._seed, family)
        return self._branches[family]

    def _key(self, family: Family, index: int) -> PrivateKey:
        key = self._keys.get((family, index))
        if key is None:
            if len(self._keys) >= _KEYS_KEPT:
                self._keys.pop(next(iter(self._keys)))
            key = self._keys[family, index] = self._branch(family).key(index)
            register_key(key.secret)
        return key

    def __repr__(self) -> str:
        return "<Keyring>"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled or copied")
