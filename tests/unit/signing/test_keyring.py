"""The keyring signs digests for the signer of its process, and never shows a key."""

import copy
import pickle

import pytest
from eth_keys.datatypes import Signature

from pipeline.chains.families.addresses import address_of
from pipeline.chains.values import Family
from pipeline.curve import PublicKey
from pipeline.keys.mnemonic import InvalidMnemonic
from pipeline.keys.private import PrivateBranch
from pipeline.signing.keyring import Keyring
from tests.witness import witness

ABOUT = "abandon " * 11 + "about"
DIGEST = bytes(range(32))


@pytest.mark.parametrize("family", list(Family))
async def test_signature_recovers_to_the_address(family: Family) -> None:
    keyring = Keyring(ABOUT)
    signature = keyring.sign(family, 3, DIGEST)
    assert len(signature) == 65
    recovered = PublicKey.recover(DIGEST, signature)
    assert address_of(family, recovered) == keyring.address(family, 3)


async def test_signature_is_the_one_tronpy_and_eth_keys_make() -> None:
    tronpy = witness("tronpy.keys")
    keyring = Keyring(ABOUT)
    signature = keyring.sign(Family.TRON, 0, DIGEST)
    secret = PrivateBranch.from_mnemonic(ABOUT, Family.TRON).key(0).secret
    assert signature == bytes.fromhex(tronpy.PrivateKey(secret).sign_msg_hash(DIGEST).hex())
    recovered = Signature(signature).recover_public_key_from_msg_hash(DIGEST)
    assert recovered.to_bytes() == bytes.fromhex(tronpy.PrivateKey(secret).public_key.hex())


async def test_many_keys_are_not_kept_for_ever() -> None:
    keyring = Keyring(ABOUT)
    first = keyring.sign(Family.TRON, 10, DIGEST)
    for index in range(11, 300):
        keyring.sign(Family.TRON, index, DIGEST)
    assert len(keyring._keys) <= 256
    assert keyring.sign(Family.TRON, 10, DIGEST) == first


async def test_only_digests_are_signed() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring(ABOUT).sign(Family.TRON, 0, b"hello")


async def test_keys_are_not_shown_copied_or_pickled() -> None:
    keyring = Keyring(ABOUT)
    keyring.sign(Family.TRON, 0, DIGEST)
    branch = PrivateBranch.from_mnemonic(ABOUT, Family.TRON)
    secret = branch.key(0).secret.hex()
    for holder in (keyring, branch, branch.public):
        shown = repr(holder) + str(holder) + f"{holder}"
        assert secret not in shown
        assert "abandon" not in shown
    for holder in (keyring, branch):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder)
        with pytest.raises(TypeError, match="not pickled"):
            copy.deepcopy(holder)


def test_a_bad_mnemonic_is_refused() -> None:
    with pytest.raises(InvalidMnemonic, match="checksum"):
        Keyring("abandon " * 12)
