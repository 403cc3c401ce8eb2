"""Derivation against published vectors and against three implementations that nobody here wrote."""

import time

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chains.values import Family
from pipeline.keys import mnemonic
from pipeline.keys.derivation import FIRST_USER_INDEX, GAS_INDEX, MAX_INDEX, TREASURY_INDEX, derivation_path
from pipeline.keys.private import PrivateBranch
from tests.witness import witness

ABOUT = "abandon " * 11 + "about"
VECTORS = {
    (Family.TRON, 0): "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH",
    (Family.TRON, 1): "TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK",
    (Family.EVM, 0): "0x9858EfFD232B4033E47d90003D41EC34EcaEda94",
    (Family.EVM, 1): "0x6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0",
}


@pytest.mark.parametrize(("family", "index"), VECTORS)
def test_vectors(family: Family, index: int) -> None:
    assert PrivateBranch.from_mnemonic(ABOUT, family).public.address(index) == VECTORS[family, index]


def test_house_indexes() -> None:
    assert (GAS_INDEX, TREASURY_INDEX, FIRST_USER_INDEX) == (0, 1, 10)
    assert derivation_path(Family.TRON, 10) == "m/44'/195'/0'/0/10"
    assert derivation_path(Family.EVM, 0) == "m/44'/60'/0'/0/0"


@given(entropy=st.binary(min_size=16, max_size=16), index=st.integers(0, MAX_INDEX))
@settings(max_examples=25, deadline=None)
def test_tron_agrees_with_bip_utils_and_tronpy(entropy: bytes, index: int) -> None:
    bip = witness("bip_utils")
    tronpy = witness("tronpy.keys")
    words = mnemonic.from_entropy(entropy)
    branch = PrivateBranch.from_mnemonic(words, Family.TRON)
    account = bip.Bip44.FromSeed(bip.Bip39SeedGenerator(words).Generate(), bip.Bip44Coins.TRON)
    leaf = account.Purpose().Coin().Account(0).Change(bip.Bip44Changes.CHAIN_EXT).AddressIndex(index)
    assert branch.public.address(index) == leaf.PublicKey().ToAddress()
    theirs = tronpy.PrivateKey(branch.key(index).secret).public_key.to_base58check_address()
    assert branch.public.address(index) == theirs


def test_evm_agrees_with_eth_account() -> None:
    Account.enable_unaudited_hdwallet_features()
    words = mnemonic.from_entropy(bytes(range(16)))
    branch = PrivateBranch.from_mnemonic(words, Family.EVM)
    for index in (0, 1, 7):
        theirs = Account.from_mnemonic(words, account_path=derivation_path(Family.EVM, index))
        assert branch.public.address(index) == theirs.address
        assert branch.key(index).secret == bytes(theirs.key)


@pytest.mark.parametrize("index", [-1, MAX_INDEX + 1])
def test_indexes_outside_are_refused(index: int) -> None:
    with pytest.raises(ValueError, match="outside 0 to"):
        PrivateBranch.from_mnemonic(ABOUT, Family.TRON).public.address(index)


def test_ten_thousand_addresses_take_a_moment() -> None:
    branch = PrivateBranch.from_mnemonic(ABOUT, Family.TRON).public
    started = time.process_time()
    assert len(set(branch.addresses(range(10_000)))) == 10_000
    assert time.process_time() - started < 3  # a third of a second; with eth-account it would be 19
