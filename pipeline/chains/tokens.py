"""What a token contract says of itself, asked when it is added: the same on every machine that speaks the ABI."""

from pipeline.chains.errors import NotAToken
from pipeline.chains.values import TokenInfo
from pipeline.printable import printable

LARGEST_DECIMALS = 36
"""What asset_on_chain.decimals holds."""


def token_info(contract: str, standard: str, *, decimals: bytes, symbol: bytes, balance: bytes) -> TokenInfo:
    """From what decimals(), symbol() and balanceOf() returned. Raises NotAToken saying which of them is wrong."""
    found = int.from_bytes(_word(contract, standard, "decimals()", decimals), "big")
    if found > LARGEST_DECIMALS:
        raise NotAToken(f"{contract} says it has {found} decimals: {LARGEST_DECIMALS} are the most that can be kept")
    _word(contract, standard, "balanceOf()", balance)
    try:
        return TokenInfo(contract, read_symbol(symbol), found)
    except ValueError as error:
        raise NotAToken(f"{contract} has no readable symbol: {error}") from error


def read_symbol(raw: bytes) -> str:
    """A token's symbol, as text or as the bytes32 of early tokens. Raises ValueError when it is neither."""
    try:
        text = raw.rstrip(b"\0").decode() if len(raw) == 32 else abi_string(raw)
    except ValueError as error:
        raise ValueError(f"symbol() returned {raw[:64].hex()}") from error
    if not text or len(text) > 32 or not text.isprintable():
        raise ValueError(f"symbol() returned '{printable(text, 40)}'")
    return text


def abi_string(raw: bytes) -> str:
    """The one string of a contract's answer, or of an Error(string) behind its selector: where it begins, how long it
    is, and its bytes. Raises ValueError for anything else; what a contract says may not be printable."""
    begins = int.from_bytes(raw[:32], "big")
    if begins + 32 > len(raw):
        raise ValueError("it begins beyond the end")
    ends = begins + 32 + int.from_bytes(raw[begins : begins + 32], "big")
    if ends > len(raw):
        raise ValueError("it ends beyond the end")
    return raw[begins + 32 : ends].decode()


def _word(contract: str, standard: str, what: str, raw: bytes) -> bytes:
    if len(raw) != 32:
        raise NotAToken(f"{contract} is not {standard}: {what} returns {len(raw)} bytes instead of 32")
    return raw
