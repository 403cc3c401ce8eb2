"""Many balances in one call: a simulated contract creation whose constructor reads them all.

Nothing is deployed and nothing is paid; see contracts/BatchBalances.sol. A call that is too much for the
node (energy, its 80 ms of CPU) is halved, and the size that passed is remembered.
"""

import asyncio
from collections.abc import Sequence

from pipeline.chains.batch import Entry, balances_of, block_of, creation_code, split
from pipeline.chains.errors import InvalidAddress
from pipeline.chains.http import NodeFailure
from pipeline.chains.nodes import Nodes
from pipeline.chains.provider import Balance, BalanceQuery, BlockRef, Finality
from pipeline.chains.tron import address
from pipeline.chains.tron.node import TronNode, decoded_message, reading

LARGEST_CHUNK = 500
"""Entries in one call: 16.5 kB of answer, below the 24 kB that some machines allow as code."""
FIRST_CHUNK = 200
PARALLEL_CHUNKS = 4

_NOBODY = "41" + "00" * 20


class _TooMuch(Exception):
    """The node gave up on a call; half of it may pass."""


class BalanceReader:
    """Reads balances through a chain's nodes and learns how many a call may hold."""

    def __init__(self, nodes: Nodes[TronNode]) -> None:
        self._nodes = nodes
        self.chunk = FIRST_CHUNK

    async def read(self, queries: Sequence[BalanceQuery], finality: Finality) -> list[Balance]:
        """In the order of ``queries``; a bad address or contract is an error of its own entry only."""
        answers: list[Balance | None] = [None] * len(queries)
        entries: list[Entry] = []
        for place, query in enumerate(queries):
            try:
                entries.append(_entry(place, query))
            except InvalidAddress as error:
                answers[place] = Balance(None, None, str(error))
        room = asyncio.Semaphore(PARALLEL_CHUNKS)

        async def chunk(part: list[Entry]) -> None:
            async with room:
                for entry, balance in zip(part, await self._chunk(part, finality), strict=True):
                    answers[entry.place] = balance

        done = await asyncio.gather(*(chunk(part) for part in split(entries, self.chunk)), return_exceptions=True)
        for failure in done:
            if failure is not None:
                raise failure
        return [answer for answer in answers if answer is not None]

    async def _chunk(self, part: list[Entry], finality: Finality) -> list[Balance]:
        try:
            balances = await self._nodes.ask(lambda node: _call(node, part, finality))
        except _TooMuch as error:
            if len(part) == 1:
                return [Balance(None, None, f"this balance cannot be read: {error}")]
            half = len(part) // 2
            self.chunk = max(1, min(self.chunk, half))
            return await self._chunk(part[:half], finality) + await self._chunk(part[half:], finality)
        if len(part) >= self.chunk:
            self.chunk = min(LARGEST_CHUNK, self.chunk + max(1, self.chunk // 4))
        return balances


async def _call(node: TronNode, part: list[Entry], finality: Finality) -> list[Balance]:
    answer = await node.call(
        "triggerconstantcontract", finality, {"owner_address": _NOBODY, "data": creation_code(part).hex()}
    )
    with reading(node, "a balance call"):
        said = answer.get("result", {})
        failed = any(ret.get("ret") == "FAILED" for ret in answer.get("transaction", {}).get("ret", ()))
        reason = decoded_message(said.get("message")) or str(said.get("code", "the node gave no reason"))
        if said.get("code") == "CONTRACT_VALIDATE_ERROR":
            # Not about this call: the node runs without constant calls, or without creation in them.
            raise NodeFailure("node error", f"{node.name} refuses to simulate the reading of balances: {reason}")
        if not said.get("result") or failed or said.get("code"):
            raise _TooMuch(reason)
        returned = bytes.fromhex(answer["constant_result"][0])
    with reading(node, f"a read of {len(part)} balances"):
        number, seconds = block_of(returned, len(part))
    block = await _block(node, number, finality)
    if int(block.timestamp.timestamp()) != seconds:
        raise NodeFailure("fork", f"{node.name} read balances at another block {number} than it has now")
    return balances_of(returned, part, block, "a TRC20")


async def _block(node: TronNode, number: int, finality: Finality) -> BlockRef:
    """The block that a call was executed at. A final one does not change and is asked for once."""
    kept = node.last_final_block
    if finality is Finality.FINAL and kept is not None and kept.number == number:
        return kept
    block = await node.block_ref(finality, number)
    if finality is Finality.FINAL:
        node.last_final_block = block
    return block


def _entry(place: int, query: BalanceQuery) -> Entry:
    contract = query.asset.contract
    token = None if contract is None else address.to_tail(contract)
    return Entry(place, address.to_tail(query.address), token, contract)
