"""The signer signs what it is asked, and never shows a key."""

import copy
import pickle

import pytest
from eth_keys.datatypes import Signature

from pipeline.chains.values import Family
from pipeline.curve import PublicKey
from pipeline.keys.derivation import address_of
from pipeline.keys.mnemonic import InvalidMnemonic
from pipeline.keys.private import PrivateBranch
from pipeline.signing.local import LocalSigner
from tests.witness import witness

ABOUT = "abandon " * 11 + "about"
DIGEST = bytes(range(32))


@pytest.mark.parametrize("family", list(Family))
async def test_signature_recovers_to_the_address(family: Family) -> None:
    signer = LocalSigner(ABOUT)
    signature = await signer.sign_digest(family, 3, DIGEST)
    assert len(signature) == 65
    recovered = PublicKey.recover(DIGEST, signature)
    assert address_of(family, recovered) == await signer.address(family, 3)


async def test_signature_is_the_one_tronpy_and_eth_keys_make() -> None:
    tronpy = witness("tronpy.keys")
    signer = LocalSigner(ABOUT)
    signature = await signer.sign_digest(Family.TRON, 0, DIGEST)
    secret = PrivateBranch.from_mnemonic(ABOUT, Family.TRON).key(0).secret
    assert signature == bytes.fromhex(tronpy.PrivateKey(secret).sign_msg_hash(DIGEST).hex())
    recovered = Signature(signature).recover_public_key_from_msg_hash(DIGEST)
    assert recovered.to_bytes() == bytes.fromhex(tronpy.PrivateKey(secret).public_key.hex())


async def test_many_keys_are_not_kept_for_ever() -> None:
    signer = LocalSigner(ABOUT)
    first = await signer.sign_digest(Family.TRON, 10, DIGEST)
    for index in range(11, 300):
        await signer.sign_digest(Family.TRON, index, DIGEST)
    assert len(signer._keys) <= 256
    assert await signer.sign_digest(Family.TRON, 10, DIGEST) == first


async def test_only_digests_are_signed() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await LocalSigner(ABOUT).sign_digest(Family.TRON, 0, b"hello")


async def test_keys_are_not_shown_copied_or_pickled() -> None:
    signer = LocalSigner(ABOUT)
    await signer.sign_digest(Family.TRON, 0, DIGEST)
    branch = PrivateBranch.from_mnemonic(ABOUT, Family.TRON)
    secret = branch.key(0).secret.hex()
    for holder in (signer, branch, branch.public):
        shown = repr(holder) + str(holder) + f"{holder}"
        assert secret not in shown
        assert "abandon" not in shown
    for holder in (signer, branch):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder)
        with pytest.raises(TypeError, match="not pickled"):
            copy.deepcopy(holder)


def test_a_bad_mnemonic_is_refused() -> None:
    with pytest.raises(InvalidMnemonic, match="checksum"):
        LocalSigner("abandon " * 12)
