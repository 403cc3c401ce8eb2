"""Final blocks that several readers want at the same time, each read once.

32 senders that are reconciled over the same 64 blocks read 64 blocks instead of 2,048. The proof that a payment never
landed is not read through it: it asks again for blocks that were read before, to have another node's answer.
"""

import asyncio
from collections import OrderedDict

from pipeline.blocks.follower import ReadBlock
from pipeline.chains.values import BlockContent

MOST_BLOCKS = 128
"""A block of TRON with 300 transactions is about 0.3 MB as values."""


class BlockCache:
    """The last blocks that were read, up to ``most``. ``read`` stands for the reader that it was made with."""

    def __init__(self, read: ReadBlock, most: int = MOST_BLOCKS) -> None:
        self._read = read
        self._most = most
        self._blocks: OrderedDict[int, BlockContent] = OrderedDict()
        self._reading: dict[int, asyncio.Task[BlockContent | None]] = {}

    async def read(self, number: int) -> BlockContent | None:
        """A final block by its height. One that is not there yet, or holds what could not be read, is not kept: another
        node may give more. Raises what the reader raises, to all who wait for the block."""
        if (known := self._blocks.get(number)) is not None:
            self._blocks.move_to_end(number)
            return known
        reading = self._reading.get(number)
        if reading is None:
            reading = self._reading[number] = asyncio.create_task(self._read(number))
            reading.add_done_callback(lambda done: self._keep(number, done))
        # One who stops waiting (its read ahead is not needed) does not take the block from the others.
        return await asyncio.shield(reading)

    def clear(self) -> None:
        """Read everything anew from now on."""
        self._blocks.clear()
        self._reading.clear()

    def _keep(self, number: int, done: asyncio.Task[BlockContent | None]) -> None:
        content = None if done.cancelled() or done.exception() is not None else done.result()
        if self._reading.get(number) is not done:
            return
        del self._reading[number]
        if content is None or content.unreadable:
            return
        self._blocks[number] = content
        if len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
