"""EIP-55: what is accepted, what is refused, and what the refusal says."""

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.errors import InvalidAddress
from pipeline.chains.evm.codec import address

# From EIP-55 itself.
VECTORS = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors(vector: str) -> None:
    assert address.validate(vector) == vector
    assert address.validate(vector.lower()) == vector


@given(st.binary(min_size=20, max_size=20))
def test_agrees_with_eth_utils(raw: bytes) -> None:
    text = address.from_bytes(raw)
    assert text == to_checksum_address(raw)
    assert address.to_bytes(text) == raw
    assert address.from_word("0x" + raw.rjust(32, b"\0").hex()) == text


@given(st.binary(min_size=20, max_size=20), st.integers(0, 39))
def test_a_letter_of_the_wrong_case_is_noticed(raw: bytes, place: int) -> None:
    text = address.from_bytes(raw)[2:]
    wrong = "0x" + text[:place] + text[place].swapcase() + text[place + 1 :]
    if wrong[2:] in (text, text.lower()):
        return
    with pytest.raises(InvalidAddress, match=r"checksum|upper case"):
        address.validate(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", "is a TRON address: an EVM address starts with 0x"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "Bitcoin"),
        ("invalid", "not an EVM address"),
        (VECTORS[4][2:], "lacks its 0x"),
        (VECTORS[4][:-1], "39 hex digits: an EVM address has 40"),
        (VECTORS[4] + "0", "41 hex digits"),
        (VECTORS[4][:-1] + "g", "not hex digits"),
        (" " + VECTORS[4], "spaces"),
        ("0X" + VECTORS[4][2:], "write 0x"),
        (VECTORS[4][:-1] + "D", "wrong checksum"),
        ("0x" + VECTORS[4][2:].upper(), "all upper case"),
        ("0x" + "١" * 40, "not hex digits"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidAddress, match=message):
        address.validate(text)


def test_words_that_are_no_addresses() -> None:
    for word in ("0x" + "11" * 32, "0x" + "00" * 19, "0xzz"):
        with pytest.raises(InvalidAddress):
            address.from_word(word)
