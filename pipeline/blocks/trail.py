"""The newest blocks as this process has seen them, above the final one: who is in which, and what forked away."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pipeline.chains.values import BlockContent, BlockRef

ReadBlock = Callable[[int], Awaitable[BlockContent | None]]


@dataclass(frozen=True, slots=True)
class _Seen:
    block: BlockRef
    parent_id: str
    txids: frozenset[str]


class Trail:
    """Blocks above the final one, each the parent of the next. Lost with the process, and read again."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Seen] = {}

    async def follow(self, final: BlockRef, head: BlockRef, read: ReadBlock) -> None:
        """Read on to ``head``; blocks that are not its ancestors are forgotten. A head behind the trail is a slow node,
        not a fork, as long as it lies on the trail."""
        self._blocks = {number: seen for number, seen in self._blocks.items() if number > final.number}
        known = self._blocks.get(head.number)
        if known is not None and known.block.id == head.id:
            return
        self._forget_from(head.number)
        number = self._top(final) + 1
        # A fork is walked back and forth once. Nodes that contradict each other could keep us walking: the next
        # round goes on from here.
        for _ in range(2 * (head.number - final.number) + 1):
            content = await read(number) if number <= head.number else None
            if content is None:
                return
            below = self._blocks.get(number - 1)
            if below is not None and content.parent_id != below.block.id:
                self._forget_from(number - 1)
                number -= 1
                continue
            txids = frozenset(result.txid for result in content.transactions) | content.unreadable
            self._blocks[number] = _Seen(content.block, content.parent_id, txids)
            number += 1

    def block_of(self, txid: str) -> BlockRef | None:
        """The block on the trail that holds a transaction."""
        return next((seen.block for seen in self._blocks.values() if txid in seen.txids), None)

    def contradicts(self, number: int, block_id: str) -> bool:
        """Whether another block than this one stands at ``number``."""
        seen = self._blocks.get(number)
        return seen is not None and seen.block.id != block_id

    def _top(self, final: BlockRef) -> int:
        return max(self._blocks, default=final.number)

    def _forget_from(self, number: int) -> None:
        for known in [one for one in self._blocks if one >= number]:
            del self._blocks[known]
