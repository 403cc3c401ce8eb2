"""Mnemonics are checked, and no error shows one."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.keys import mnemonic
from pipeline.keys.mnemonic import InvalidMnemonic
from tests.witness import witness

ABOUT = "abandon " * 11 + "about"


def test_word_list_is_bip39s() -> None:
    words = "".join(word + "\n" for word in mnemonic._words())
    assert (
        hashlib.sha256(words.encode()).hexdigest() == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    )


def test_seed_vector() -> None:
    # BIP39's own vector, passphrase TREZOR.
    assert mnemonic.to_seed(ABOUT, "TREZOR").hex().startswith("c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e")


@pytest.mark.parametrize("words", [12, 15, 18, 21, 24])
def test_generated_ones_are_valid_elsewhere_too(words: int) -> None:
    bip = witness("bip_utils")
    made = mnemonic.generate(words)
    assert len(made.split()) == words
    assert bip.Bip39MnemonicValidator().IsValid(made)
    assert mnemonic.to_seed(made) == bip.Bip39SeedGenerator(made).Generate()
    assert mnemonic.generate(words) != made


@given(entropy=st.sampled_from([16, 20, 24, 28, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)))
@settings(max_examples=50)
def test_entropy_round_trip(entropy: bytes) -> None:
    assert mnemonic.validate(mnemonic.from_entropy(entropy))


def test_form_does_not_matter() -> None:
    assert mnemonic.validate("  ABANDON\n" + " abandon\t" * 10 + " About ") == ABOUT


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "has 0 words: it must have 12, 15, 18, 21 or 24"),
        ("abandon " * 11, "has 11 words"),
        (ABOUT.replace("about", "abuot"), "word 12 is not in the BIP39"),
        ("abandon zzzz " + "abandon " * 9 + "qqqq", "words 2, 12 are not in the BIP39"),
        ("abandon " * 12, "checksum is wrong"),
    ],
)
def test_bad_ones_say_why_and_show_nothing(given: str, message: str) -> None:
    with pytest.raises(InvalidMnemonic, match=message) as caught:
        mnemonic.validate(given)
    shown = str(caught.value)
    assert not any(word in shown for word in given.split())


def test_no_mnemonic_of_13_words() -> None:
    with pytest.raises(InvalidMnemonic, match="13 words does not exist"):
        mnemonic.generate(13)
