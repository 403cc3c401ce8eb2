"""BIP32 derivation of private keys. Only the signing room may import this (.importlinter)."""

import hashlib
import hmac

from pipeline.chains.values import Family
from pipeline.curve import PrivateKey
from pipeline.keys.derivation import COIN_TYPES, PublicBranch, checked_index, child
from pipeline.keys.mnemonic import to_seed

_HARDENED = 2**31


class PrivateBranch:
    """``m/44'/coin'/0'/0`` with its private key. Shows and pickles as nothing."""

    __slots__ = ("_chain_code", "_key", "public")

    def __init__(self, family: Family, key: PrivateKey, chain_code: bytes) -> None:
        self._key = key
        self._chain_code = chain_code
        self.public = PublicBranch(family, key.public_key, chain_code)

    @classmethod
    def from_mnemonic(cls, mnemonic: str, family: Family) -> "PrivateBranch":
        """Raises InvalidMnemonic."""
        return cls.from_seed(to_seed(mnemonic), family)

    @classmethod
    def from_seed(cls, seed: bytes, family: Family) -> "PrivateBranch":
        master = hmac.digest(b"Bitcoin seed", seed, hashlib.sha512)
        key, chain_code = PrivateKey(master[:32]), master[32:]
        for step in (44 + _HARDENED, COIN_TYPES[family] + _HARDENED, _HARDENED, 0):
            key, chain_code = _private_child(key, chain_code, step)
        return cls(family, key, chain_code)

    def key(self, index: int) -> PrivateKey:
        """The private key at ``index``."""
        return _private_child(self._key, self._chain_code, checked_index(index))[0]

    def __repr__(self) -> str:
        return f"<PrivateBranch {self.public.family}>"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled or copied")


def _private_child(key: PrivateKey, chain_code: bytes, step: int) -> tuple[PrivateKey, bytes]:
    parent = b"\x00" + key.secret if step >= _HARDENED else key.public_key.format()
    digest = child(chain_code, parent, step)
    return key.add(digest[:32]), digest[32:]
