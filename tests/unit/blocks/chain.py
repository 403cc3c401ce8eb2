"""A chain of blocks named by a letter per branch."""

import asyncio
from datetime import UTC, datetime, timedelta

from pipeline.chains.values import BlockContent, BlockRef, TransactionResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Chain:
    """Three blocks of branch "a" to begin with."""

    def __init__(self) -> None:
        self.chain: list[BlockContent] = []
        self.reads: list[int] = []
        self.most_at_once = 0
        self._at_once = 0
        self.grow("a", 3)

    def grow(self, branch: str, count: int, *txids: str) -> None:
        """Blocks that each hold transactions with these ids."""
        for _ in range(count):
            number = len(self.chain)
            block = BlockRef(number, f"{branch}{number}", NOW + timedelta(seconds=number))
            parent = self.chain[-1].block.id if self.chain else "none"
            results = tuple(TransactionResult(txid, block, True, 0, ()) for txid in txids)
            self.chain.append(BlockContent(block, parent, results))

    def fork(self, depth: int) -> None:
        """Take away the newest blocks."""
        del self.chain[-depth:]

    @property
    def head(self) -> BlockRef:
        return self.chain[-1].block

    async def read(self, number: int) -> BlockContent | None:
        self.reads.append(number)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)
        finally:
            self._at_once -= 1
        return self.chain[number] if number < len(self.chain) else None
