"""Settles what final blocks show, a whole block at a time, and moves the cursor with it."""

from collections.abc import Sequence
from contextlib import aclosing

import psycopg
from loguru import logger

from pipeline.blocks.errors import BlockConflict
from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.values import BlockContent, BlockRef
from pipeline.db.errors import refused_by_guard
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.lookup import Lookup
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.unresolved import UnresolvedPayments


class FinalBlocks:
    """Of one chain."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        blocks: BlockFollower,
        lookup: Lookup,
        unresolved: UnresolvedPayments,
        longest_scan: int,
    ) -> None:
        """``longest_scan``: blocks; after a longer absence the few payments that were out are looked up one by one."""
        self._chain_id = chain_id
        self._store = store
        self._blocks = blocks
        self._lookup = lookup
        self._unresolved = unresolved
        self._longest_scan = longest_scan

    async def settle(self, cursor: BlockRef | None, final: BlockRef, live: Sequence[LiveAttempt]) -> BlockRef:
        """Settle everything in the final blocks after the cursor; the block up to which all is settled. Raises
        BlockConflict, ChainUnavailable, CursorMoved, psycopg.Error."""
        start = await self._skip_too_old(cursor, final, live)
        if start is None or final.number - start.number > self._longest_scan:
            logger.info("final blocks up to {} were not followed: looking up {} payments", final.number, len(live))
            await self._lookup.look_up(live)
            if not await self.pass_over(start, final):
                raise ChainUnavailable(f"no node gives final block {final.number}, which one of them has named")
            return final
        stored = read = start
        by_txid = {attempt.signed.txid: attempt for attempt in live}
        try:
            async with aclosing(self._blocks.follow(start, final)) as contents:
                async for content in contents:
                    if await self._settle_block(stored, content, by_txid):
                        stored = content.block
                    read = content.block
        except BlockConflict as conflict:
            raise BlockConflict(
                f"{conflict}. Settlement goes on when the nodes agree with chain_cursors (chain_id {self._chain_id}, "
                f"confirmations), which says block {stored.number} {stored.id}"
            ) from conflict
        if read.number > stored.number:
            await self._store.advance(self._chain_id, stored, read)
        return read

    async def pass_over(self, cursor: BlockRef | None, final: BlockRef) -> bool:
        """Move the cursor to ``final``, once a node gave that block itself: with a wrong digit in a height or an id,
        from one answer, no later block would ever follow the cursor. False where no node has it yet. Raises
        BlockConflict."""
        if await self._blocks.block(final) is None:
            return False
        await self._store.advance(self._chain_id, cursor, final)
        return True

    async def _settle_block(self, stored: BlockRef, content: BlockContent, by_txid: dict[str, LiveAttempt]) -> bool:
        """Settle all of a block, and the cursor with it; whether it moved: not where there was nothing, or what the
        database refuses was left out. What cannot be read, or nodes disagree about, is noted before the cursor passes
        it."""
        for txid in sorted(content.unreadable & by_txid.keys()):
            await self._unresolved.note(by_txid[txid], content.block)
        findings = []
        for result in content.transactions:
            if result.txid not in by_txid:
                continue
            finding = FoundAttempt(by_txid[result.txid], result)
            if self._lookup.is_foreign(finding):
                continue
            if await self._lookup.is_agreed(finding):
                findings.append(finding)
            else:
                await self._unresolved.note(finding.attempt, content.block)
        if not findings:
            return False
        try:
            rows = await self._store.settle_block(self._chain_id, stored, content.block, findings)
        except psycopg.Error as error:
            if not refused_by_guard(error):
                raise
            for finding in findings:
                await self._unresolved.settle(finding)
            return False
        self._lookup.tell(findings, {row["attempt_id"] for row in rows})
        return True

    async def _skip_too_old(
        self, cursor: BlockRef | None, final: BlockRef, live: Sequence[LiveAttempt]
    ) -> BlockRef | None:
        """A transaction is in no block up to the one it refers to (TAPOS): nothing live is in the blocks before the
        oldest of these, which matters after hours without a payment."""
        references = [attempt.signed.ref_block for attempt in live if attempt.signed.ref_block is not None]
        if len(references) < len(live):
            return cursor
        oldest = min(references)
        if oldest > final.number or (cursor is not None and oldest <= cursor.number):
            return cursor
        content = await self._blocks.at(oldest)
        if content is None:
            return cursor
        await self._store.advance(self._chain_id, cursor, content.block)
        return content.block
