"""The blocks above the final one, as this process has seen them: their transactions, and what was forked away."""

from dataclasses import dataclass, field

from pipeline.blocks.follower import ReadBlock
from pipeline.chains.values import BlockContent, BlockRef


@dataclass(frozen=True, slots=True)
class _Seen:
    block: BlockRef
    parent_id: str
    txids: frozenset[str]


@dataclass(slots=True)
class BlockChanges:
    """What one call of ``follow`` changed. A block that was added and forked away within it is in neither list."""

    added: list[BlockContent] = field(default_factory=list)
    """In the order of their heights."""
    removed: list[BlockRef] = field(default_factory=list)
    """Forked away; the highest first. A transaction that they held may stand in one that was added."""


class RecentBlocks:
    """Blocks above the final one, each the parent of the next. Lost with the process, and read again."""

    def __init__(self, read: ReadBlock) -> None:
        """``read`` gives blocks that need not be final."""
        self._read = read
        self._blocks: dict[int, _Seen] = {}

    async def follow(self, final: BlockRef, head: BlockRef) -> BlockChanges:
        """Read on to ``head``; blocks that are not its ancestors are forgotten, and final ones too. A head below the
        highest of these blocks is a slow node's, not a fork, as long as it is one of them. Raises what ``read``
        raises."""
        self._blocks = {number: seen for number, seen in self._blocks.items() if number > final.number}
        change = BlockChanges()
        known = self._blocks.get(head.number)
        if known is not None and known.block.id == head.id:
            return change
        self._forget_from(head.number, change)
        number = self._top(final) + 1
        # A fork is walked back and forth once. Nodes that contradict each other could keep us walking: the next
        # call goes on from here.
        for _ in range(2 * (head.number - final.number) + 1):
            content = await self._read(number) if number <= head.number else None
            if content is None:
                break
            below = self._blocks.get(number - 1)
            if below is not None and content.parent_id != below.block.id:
                self._forget_from(number - 1, change)
                number -= 1
                continue
            txids = frozenset(result.txid for result in content.transactions) | content.unreadable
            self._blocks[number] = _Seen(content.block, content.parent_id, txids)
            change.added.append(content)
            number += 1
        return change

    def block_of(self, txid: str) -> BlockRef | None:
        """Which of these blocks holds a transaction."""
        return next((seen.block for seen in self._blocks.values() if txid in seen.txids), None)

    def contradicts(self, number: int, block_id: str) -> bool:
        """Whether another block than this one stands at ``number``."""
        seen = self._blocks.get(number)
        return seen is not None and seen.block.id != block_id

    def confirmations(self, block: BlockRef) -> int:
        """How many of these blocks confirm what is in a block: 1 in the newest one, 0 where it is none of them."""
        seen = self._blocks.get(block.number)
        if seen is None or seen.block.id != block.id:
            return 0
        return max(self._blocks) - block.number + 1

    def _top(self, final: BlockRef) -> int:
        return max(self._blocks, default=final.number)

    def _forget_from(self, number: int, change: BlockChanges) -> None:
        for height in sorted((one for one in self._blocks if one >= number), reverse=True):
            forgotten = self._blocks.pop(height).block
            if change.added and change.added[-1].block == forgotten:
                change.added.pop()
            else:
                change.removed.append(forgotten)
