"""The wire format of contracts/BatchBalances.sol: many balances out of one simulated contract creation.

Virtual machines differ in how the call is made and in the form of an address, not in this.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from pipeline.chains.values import Balance, BlockRef

ENTRY_BYTES = 33
"""Of the answer, per balance."""
HEAD_BYTES = 64
"""Of the answer: the block's number and timestamp."""
MAX_TOKENS = 255
"""Different tokens in one call."""

_READ, _NO_CONTRACT = 1, 2


@dataclass(frozen=True, slots=True)
class BalanceEntry:
    """One balance to read, its addresses as 20 bytes."""

    place: int
    """In the list that was asked for."""
    owner: bytes
    token: bytes | None
    contract: str | None
    """The token as it was written, for messages."""


def creation_code(part: Sequence[BalanceEntry]) -> bytes:
    """BatchBalances' creation code with its argument."""
    tokens = list(dict.fromkeys(entry.token for entry in part if entry.token is not None))
    numbers: dict[bytes | None, int] = {token: number for number, token in enumerate(tokens, start=1)}
    numbers[None] = 0
    packed = bytes([len(tokens)]) + b"".join(tokens)
    packed += b"".join(bytes([numbers[entry.token]]) + entry.owner for entry in part)
    padding = bytes(-len(packed) % 32)
    return _bytecode() + (32).to_bytes(32, "big") + len(packed).to_bytes(32, "big") + packed + padding


def block_of(returned: bytes, count: int) -> tuple[int, int]:
    """Number and timestamp (seconds) of the block that was read. Raises ValueError unless ``count`` balances follow."""
    if len(returned) != HEAD_BYTES + ENTRY_BYTES * count:
        raise ValueError(f"{len(returned)} bytes to a read of {count} balances")
    return int.from_bytes(returned[:32], "big"), int.from_bytes(returned[32:64], "big")


def balances_of(returned: bytes, part: Sequence[BalanceEntry], block: BlockRef, standard: str) -> list[Balance]:
    """The balances of an answer; ``standard`` (TRC20, ERC20) names what a contract without ``balanceOf`` is not."""
    ends = range(HEAD_BYTES, len(returned), ENTRY_BYTES)
    return [
        _balance(entry, returned[at : at + ENTRY_BYTES], block, standard) for entry, at in zip(part, ends, strict=True)
    ]


def split(entries: Sequence[BalanceEntry], size: int) -> list[list[BalanceEntry]]:
    """Chunks of at most ``size`` entries and MAX_TOKENS tokens."""
    parts: list[list[BalanceEntry]] = []
    tokens: set[bytes] = set()
    for entry in entries:
        new = entry.token is not None and entry.token not in tokens
        if not parts or len(parts[-1]) >= size or (new and len(tokens) == MAX_TOKENS):
            parts.append([])
            tokens = set()
        parts[-1].append(entry)
        if entry.token is not None:
            tokens.add(entry.token)
    return parts


def no_contract(entry: BalanceEntry, block: BlockRef) -> Balance:
    return Balance(None, block, f"{entry.contract} is not a contract: nothing is deployed at that address")


def no_token(entry: BalanceEntry, block: BlockRef, standard: str) -> Balance:
    return Balance(None, block, f"contract {entry.contract} is not {standard}: it does not answer balanceOf")


def _balance(entry: BalanceEntry, answer: bytes, block: BlockRef, standard: str) -> Balance:
    if answer[0] == _READ:
        return Balance(int.from_bytes(answer[1:], "big"), block)
    return no_contract(entry, block) if answer[0] == _NO_CONTRACT else no_token(entry, block, standard)


@lru_cache(maxsize=1)
def _bytecode() -> bytes:
    built = resources.files("pipeline.chains.contracts").joinpath("BatchBalances.json").read_text("utf-8")
    return bytes.fromhex(json.loads(built)["bytecode"])
