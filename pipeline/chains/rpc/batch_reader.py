"""Reads many balances in calls of adaptive size: halved when a node gives up, grown again when it copes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Generic, TypeVar

from pipeline.chains.errors import ChainError, InvalidAddress
from pipeline.chains.rpc.batch import BalanceEntry, split
from pipeline.chains.rpc.http import Node
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.values import Balance, BalanceQuery

N = TypeVar("N", bound=Node)
At = TypeVar("At")

PARALLEL_CHUNKS = 4


class TooMuch(ChainError):
    """The node gave up on a call; half of it may pass."""


class BatchReader(Generic[N, At]):
    """Reads balances through a chain's nodes and learns how many a call may hold.

    ``At`` is what tells ``call`` where to read: a finality, or a block.
    """

    def __init__(
        self,
        nodes: Nodes[N],
        tail: Callable[[str], bytes],
        call: Callable[[N, list[BalanceEntry], At], Awaitable[list[Balance]]],
        *,
        first_chunk: int,
        largest_chunk: int,
        checked_tail: Callable[[str], bytes] | None = None,
    ) -> None:
        """``tail`` gives the 20 bytes of an address or raises InvalidAddress; ``call`` raises TooMuch. ``checked_tail``
        gives those of an address whose checksum was compared before (``BalanceQuery.is_checked``), if it is faster."""
        self._nodes = nodes
        self._tail = tail
        self._checked_tail = checked_tail
        self._call = call
        self._largest = largest_chunk
        self.chunk = first_chunk

    async def read(self, queries: Sequence[BalanceQuery], at: At) -> list[Balance]:
        """In the order of ``queries``; a bad address or contract is an error of its own entry only."""
        answers: list[Balance | None] = [None] * len(queries)
        entries: list[BalanceEntry] = []
        # Checking an address costs more than reading its balance, and wallets have several, tokens thousands.
        tail = cache(self._tail)
        checked_tail = self._checked_tail or tail
        for place, query in enumerate(queries):
            contract = query.asset.contract
            try:
                owner = checked_tail(query.address) if query.is_checked else tail(query.address)
                token = None if contract is None else tail(contract)
                entries.append(BalanceEntry(place, owner, token, contract))
            except InvalidAddress as error:
                answers[place] = Balance(None, None, str(error))
        room = asyncio.Semaphore(PARALLEL_CHUNKS)

        async def chunk(part: list[BalanceEntry]) -> None:
            async with room:
                for entry, balance in zip(part, await self._chunk(part, at), strict=True):
                    answers[entry.place] = balance

        done = await asyncio.gather(*(chunk(part) for part in split(entries, self.chunk)), return_exceptions=True)
        for failure in done:
            if failure is not None:
                raise failure
        return [answer for answer in answers if answer is not None]

    async def _chunk(self, part: list[BalanceEntry], at: At) -> list[Balance]:
        try:
            balances = await self._nodes.ask(lambda node: self._call(node, part, at))
        except TooMuch as error:
            if len(part) == 1:
                return [Balance(None, None, f"this balance cannot be read: {error}")]
            half = len(part) // 2
            self.chunk = max(1, min(self.chunk, half))
            return await self._chunk(part[:half], at) + await self._chunk(part[half:], at)
        if len(part) >= self.chunk:
            self.chunk = min(self._largest, self.chunk + max(1, self.chunk // 4))
        return balances
