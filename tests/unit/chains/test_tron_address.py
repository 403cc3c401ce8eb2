"""TRON addresses: three forms, one canonical, and errors that say what is wrong."""

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.errors import InvalidAddress
from pipeline.chains.families.addresses import address_of
from pipeline.chains.tron.codec import address
from pipeline.chains.values import Family
from pipeline.curve import PrivateKey

GAS = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


def test_usdt() -> None:
    assert address.to_hex(USDT) == "41a614f803b6fd780986a42c78ec9c7f77e6ded13c"
    assert address.from_hex("a614f803b6fd780986a42c78ec9c7f77e6ded13c") == USDT
    assert address.from_hex("0" * 24 + "a614f803b6fd780986a42c78ec9c7f77e6ded13c") == USDT
    assert address.validate("41A614F803B6FD780986A42C78EC9C7F77E6DED13C") == USDT
    assert address.to_tail(USDT).hex() == "a614f803b6fd780986a42c78ec9c7f77e6ded13c"


@given(tail=st.binary(min_size=20, max_size=20))
def test_round_trip_agrees_with_base58(tail: bytes) -> None:
    text = address.from_bytes(tail)
    assert text == base58.b58encode_check(b"\x41" + tail).decode()
    assert address.to_bytes(text) == b"\x41" + tail
    assert address.validate(text) == text


@given(secret=st.integers(1, 2**255))
def test_keys_and_chains_rooms_agree(secret: int) -> None:
    public = PrivateKey(secret.to_bytes(32, "big")).public_key
    assert address.from_public_key(public) == address_of(Family.TRON, public)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("", "is empty"),
        ("invalid", "not base58"),
        ("T", "1 characters: a TRON address has 34"),
        (GAS[:-1] + "h", "wrong checksum"),
        (GAS + "1", "35 characters"),
        (f" {GAS}", "spaces around"),
        (f"{GAS}\n", "spaces around"),
        ("0x9858EfFD232B4033E47d90003D41EC34EcaEda94", "EVM address"),
        ("9858EfFD232B4033E47d90003D41EC34EcaEda94", "EVM address"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "Bitcoin address"),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "Bitcoin address"),
        ("27QAUYjg5FXfxcvyHcWF3Aokd5eu9iYgs1c", "old TRON testnet"),
        ("LTC" * 4, "not base58|not a TRON address"),
        ("Ж" * 34, "not base58"),
        ("T" * 5000, "characters: a TRON address has 34"),
    ],
)
def test_what_is_wrong_is_said(bad: str, message: str) -> None:
    with pytest.raises(InvalidAddress, match=message) as caught:
        address.validate(bad)
    assert len(str(caught.value)) < 250


def test_none_is_not_an_address() -> None:
    with pytest.raises(InvalidAddress, match="NoneType"):
        address.validate(None)  # type: ignore[arg-type]


@given(st.text(max_size=50))
def test_any_text_is_an_address_or_a_clear_error(text: str) -> None:
    try:
        valid = address.validate(text)
    except InvalidAddress:
        return
    assert valid.startswith("T")


@given(
    position=st.integers(1, 33), letter=st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
)
def test_one_mistyped_character_is_always_noticed(position: int, letter: str) -> None:
    typed = USDT[:position] + letter + USDT[position + 1 :]
    if typed != USDT:
        with pytest.raises(InvalidAddress):
            address.validate(typed)
