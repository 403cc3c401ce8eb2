"""Final blocks in order, each the child of the one before."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Any

from pipeline.blocks.errors import BlockConflict
from pipeline.chains.values import BlockContent, BlockRef

ReadBlock = Callable[[int], Coroutine[Any, Any, BlockContent | None]]
"""A block by its height, None where no node that was asked has it yet."""

AT_ONCE = 8
"""Blocks read ahead of the one that is given: enough to hide a node's latency, few enough for its rate limit."""


class BlockFollower:
    """Reads final blocks of one chain. Keeps no position: the caller has the cursor, and may call everything at once.

    Every method raises what ``read`` raises."""

    def __init__(self, read: ReadBlock, at_once: int = AT_ONCE) -> None:
        """``read`` gives final blocks only."""
        self._read = read
        self._at_once = at_once

    async def block(self, named: BlockRef) -> BlockContent | None:
        """The block that an answer has named as final, read by its height; None where no node gives it yet. Raises
        BlockConflict where another one stands there: of an answer with a wrong digit nothing is kept."""
        content = await self._read(named.number)
        if content is not None:
            _check_id(content, named)
        return content

    async def at(self, number: int) -> BlockContent | None:
        """The block at a height, by one answer; None where no node gives it."""
        return await self._read(number)

    def follow(self, after: BlockRef, up_to: BlockRef) -> AsyncGenerator[BlockContent, None]:
        """The blocks after ``after`` up to ``up_to``; ends before one that no node gives.

        A block is given when a second answer confirms it: its child names it as its parent, or it is ``up_to``.
        Raises BlockConflict for the first block that is no child of the one before, and where ``up_to`` is another
        block than the one at its height."""
        return self._forward(after.number + 1, after, up_to)

    def follow_from(self, first: int, up_to: BlockRef) -> AsyncGenerator[BlockContent, None]:
        """As ``follow``, from a height whose parent nobody knows."""
        return self._forward(first, None, up_to)

    async def walk_back(self, child: BlockContent, down_to: int) -> AsyncGenerator[BlockContent, None]:
        """The ancestors of a block, nearest first, down to a height; ends before one that no node gives. Raises
        BlockConflict for the first block that is not the parent of the one above."""
        numbers = range(child.block.number - 1, max(down_to, 0) - 1, -1)
        async with aclosing(self._read_ahead(numbers)) as blocks:
            async for content in blocks:
                if content is None:
                    return
                _check_parent(child, content.block)
                child = content
                yield content

    async def _forward(
        self, first: int, parent: BlockRef | None, up_to: BlockRef
    ) -> AsyncGenerator[BlockContent, None]:
        waiting: BlockContent | None = None
        async with aclosing(self._read_ahead(range(first, up_to.number + 1))) as blocks:
            async for content in blocks:
                if content is None:
                    return
                if parent is not None:
                    _check_parent(content, parent)
                if waiting is not None:
                    yield waiting
                waiting, parent = content, content.block
        if waiting is not None:
            _check_id(waiting, up_to)
            yield waiting

    async def _read_ahead(self, numbers: Iterable[int]) -> AsyncGenerator[BlockContent | None, None]:
        """Blocks in this order, read ``at_once`` at a time; reading ahead ends with the generator."""
        remaining = iter(numbers)
        reads: deque[asyncio.Task[BlockContent | None]] = deque()
        try:
            while True:
                while len(reads) < self._at_once and (number := next(remaining, None)) is not None:
                    reads.append(asyncio.create_task(self._read(number)))
                if not reads:
                    return
                content = await reads[0]
                reads.popleft()
                yield content
        finally:
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)


def _check_parent(child: BlockContent, parent: BlockRef) -> None:
    if child.parent_id != parent.id:
        raise BlockConflict(
            f"final block {child.block.number} {child.block.id} does not follow final block {parent.number} "
            f"{parent.id}: the nodes contradict each other, one of them is of another network, or the network was set "
            "up anew. Nothing is concluded from these blocks"
        )


def _check_id(content: BlockContent, named: BlockRef) -> None:
    if content.block.id != named.id:
        raise BlockConflict(
            f"final block {named.number} is {named.id} by one answer and {content.block.id} by another: nothing is "
            "concluded from either"
        )
