"""What the newest blocks show, which may still be forked away."""

from collections.abc import Sequence

from loguru import logger

from pipeline.blocks.follower import ReadBlock
from pipeline.blocks.recent import RecentBlocks
from pipeline.chains.values import BlockRef
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.attempts import describe
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.unresolved import UnresolvedPayments
from pipeline.payments.states import AttemptState


class Inclusions:
    """Of the payments of one chain: a block that holds one makes it 'included', a fork that drops the block gives it
    back to 'broadcasting'."""

    def __init__(self, store: SettlementStore, unresolved: UnresolvedPayments, read: ReadBlock) -> None:
        """``read`` gives blocks that need not be final."""
        self._store = store
        self._unresolved = unresolved
        self._recent = RecentBlocks(read)

    async def update(self, final: BlockRef, head: BlockRef, live: Sequence[LiveAttempt]) -> list[LiveAttempt]:
        """Store what the newest blocks show, and what they no longer show; the attempts that are in no block now."""
        await self._recent.follow(final, head)
        seen, gone, waiting = [], [], []
        for attempt in live:
            block = self._recent.block_of(attempt.signed.txid)
            if block is not None:
                if block.id != attempt.block_id:
                    seen.append((attempt, block))
            elif self._unresolved.holds(attempt):
                continue
            elif attempt.state is AttemptState.INCLUDED and self._is_gone(attempt, final):
                gone.append(attempt)
                waiting.append(attempt)
            elif attempt.state is AttemptState.BROADCASTING:
                waiting.append(attempt)
        if seen:
            await self._store.include(seen)
            for attempt, block in seen:
                logger.debug("{} in block {}", describe(attempt), block.number)
        if gone:
            await self._store.reorg(gone)
            for attempt in gone:
                logger.warning("{} was in block {}, which was forked away", describe(attempt), attempt.block_number)
        return waiting

    def _is_gone(self, attempt: LiveAttempt, final: BlockRef) -> bool:
        """Its block is not on the chain: another stands there, or the final blocks beyond were read without it."""
        if attempt.block_number is None or attempt.block_id is None:
            return True
        return attempt.block_number <= final.number or self._recent.contradicts(attempt.block_number, attempt.block_id)
