"""Balances of one block: through Multicall3 where it stands, else by a simulated contract creation.

The block is named by its hash, so that no node can answer from another one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pipeline.chains.evm.codec import address
from pipeline.chains.evm.rpc.node import EvmNode, RpcError, reading
from pipeline.chains.rpc.answers import hex_bytes
from pipeline.chains.rpc.batch import BalanceEntry, balances_of, block_of, creation_code, no_contract, no_token
from pipeline.chains.rpc.batch_reader import BatchReader, TooMuch
from pipeline.chains.rpc.http import TOO_LARGE, NodeFailure
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.values import Balance, BalanceQuery, BlockRef, Finality

MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
"""The same address on every chain; its deployment was signed once and for all, so nothing else can stand there."""
FIRST_CHUNK = 500
LARGEST_CHUNK = 700
"""33 bytes a balance: the answer stays below the 24,576 bytes that a new contract's code may have (EIP-170),
the question below the 49,152 of its creation code (EIP-3860)."""

_AGGREGATE3 = bytes.fromhex("82ad56cb")
"""aggregate3((address,bool,bytes)[])"""
_BALANCE_OF = bytes.fromhex("70a08231")
_GET_ETH_BALANCE = bytes.fromhex("4d2301cc")
_CALL_WORDS = 6
"""Of an encoded call: target, allowFailure, offset and length of its data, 36 bytes of data in two words."""
_MULTICALL3 = address.to_bytes(MULTICALL3)

_TOO_MUCH = (
    "gas",
    "timeout",
    "timed out",
    "revert",
    "code size",
    "codesize",
    "initcode",
    "too large",
    "too big",
    "size",
)
"""About this very call. Any other error is this node's (it lacks the block or its state, it is broken): another
may do better."""
_REVERTED = 3


class Pin:
    """The block that all of a reading is about: the newest of its finality when the first call is made."""

    def __init__(self, finality: Finality) -> None:
        self._finality = finality
        self._lock = asyncio.Lock()
        self._block: BlockRef | None = None

    async def block(self, node: EvmNode) -> BlockRef:
        async with self._lock:
            if self._block is None:
                self._block = await node.block_ref(self._finality)
            return self._block


class EvmBalances:
    """The way of reading that a chain allows, found out once."""

    def __init__(self, nodes: Nodes[EvmNode]) -> None:
        self._has_multicall3: bool | None = None
        self.reader = BatchReader(
            nodes,
            address.to_bytes,
            self._call,
            first_chunk=FIRST_CHUNK,
            largest_chunk=LARGEST_CHUNK,
            checked_tail=address.unchecked,
        )

    async def read(self, queries: Sequence[BalanceQuery], finality: Finality) -> list[Balance]:
        """In the order of ``queries``, all at one block."""
        return await self.reader.read(queries, Pin(finality))

    async def _call(self, node: EvmNode, part: list[BalanceEntry], pin: Pin) -> list[Balance]:
        block = await pin.block(node)
        if self._has_multicall3 is None:
            code = await node.call("eth_getCode", MULTICALL3, "latest")
            with reading(node, "eth_getCode"):
                self._has_multicall3 = len(hex_bytes(code, "the code", "0x")) > 0
        if self._has_multicall3:
            return await _by_multicall3(node, part, block)
        return await _by_creation(node, part, block)


async def _by_creation(node: EvmNode, part: list[BalanceEntry], block: BlockRef) -> list[Balance]:
    returned = await _simulate(node, {"data": "0x" + creation_code(part).hex()}, block)
    with reading(node, f"a read of {len(part)} balances"):
        number, _ = block_of(returned, len(part))
    if number != block.number:
        # No lie: some nodes answer from their head, and a block came while they read. To be asked again.
        raise NodeFailure(
            "another block", f"{node.name} was asked for balances of block {block.number} and read block {number}"
        )
    return balances_of(returned, part, block, "an ERC20")


async def _by_multicall3(node: EvmNode, part: list[BalanceEntry], block: BlockRef) -> list[Balance]:
    returned = await _simulate(node, {"to": MULTICALL3, "data": "0x" + _aggregate(part).hex()}, block)
    with reading(node, f"a read of {len(part)} balances"):
        results = _results(returned, len(part))
    return [_balance(entry, *result, block) for entry, result in zip(part, results, strict=True)]


async def _simulate(node: EvmNode, call: dict[str, Any], block: BlockRef) -> bytes:
    try:
        answer = await node.call("eth_call", call, {"blockHash": block.id})
    except RpcError as error:
        if error.rpc_code == _REVERTED or any(word in error.reason.lower() for word in _TOO_MUCH):
            raise TooMuch(error.reason) from error
        raise
    except NodeFailure as failure:
        if failure.code in ("http 413", TOO_LARGE):
            raise TooMuch(str(failure)) from failure
        raise
    with reading(node, "a balance call"):
        return hex_bytes(answer, "the answer", "0x")


def _aggregate(part: Sequence[BalanceEntry]) -> bytes:
    """Call data of aggregate3, put together by hand: every call has the same length."""
    yes, data_at, data_length = (value.to_bytes(32, "big") for value in (1, 96, 36))
    head = len(part) * 32
    offsets = (head + index * _CALL_WORDS * 32 for index in range(len(part)))
    calls = (
        (entry.token or _MULTICALL3).rjust(32, b"\0")
        + yes
        + data_at
        + data_length
        + (_GET_ETH_BALANCE if entry.token is None else _BALANCE_OF)
        + entry.owner.rjust(32, b"\0")
        + bytes(28)
        for entry in part
    )
    words = (32, len(part), *offsets)
    return _AGGREGATE3 + b"".join(word.to_bytes(32, "big") for word in words) + b"".join(calls)


def _results(returned: bytes, count: int) -> list[tuple[bool, bytes]]:
    """The (success, returnData) pairs of aggregate3. Raises ValueError for anything out of bounds."""

    def word(at: int) -> int:
        if at + 32 > len(returned):
            raise ValueError(f"word at {at} of {len(returned)} bytes")
        return int.from_bytes(returned[at : at + 32], "big")

    base = word(0) + 32
    if word(base - 32) != count:
        raise ValueError(f"{word(base - 32)} results for {count} calls")
    results = []
    for index in range(count):
        at = base + word(base + 32 * index)
        data = at + word(at + 32)
        results.append((word(at) == 1, returned[data + 32 : data + 32 + word(data)]))
    return results


def _balance(entry: BalanceEntry, success: bool, data: bytes, block: BlockRef) -> Balance:
    if success and len(data) >= 32:
        return Balance(int.from_bytes(data[:32], "big"), block)
    if success and not data:
        # Calling an address without code succeeds and returns nothing.
        return no_contract(entry, block)
    return no_token(entry, block, "an ERC20")
