"""Follows the payments of a chain to their end: the second half of the protocol, one chain at a time.

    final blocks    read one after the other without a gap; what they hold is settled (final_blocks.py)
    unresolved      in a final block, and nobody can read how it ended: asked again, nothing else waits (unresolved.py)
    newest blocks   what they hold is 'included'; a fork gives it back to 'broadcasting' (inclusion.py)
    expiry          past its expiration, or its nonce used by something else: proved dead (expiring.py, superseded.py)
    in no block     the identical bytes are sent again (rebroadcast.py), or a replacement is requested (nonce_queue.py)
    unrecorded      transactions of our senders that are missing from the database (payments/reconcile)

Nothing is signed here. Every round starts by reading the final block and then what is live, in this order: a payment
that goes out later cannot be in a block that was final before.
"""

import asyncio
from collections.abc import Sequence

from loguru import logger

from pipeline.blocks.cursor import CursorMoved
from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Provider
from pipeline.chains.values import BlockContent, BlockRef, Finality, Verdict
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.attempts import PaymentAttempts
from pipeline.payments.settle.blocked_senders import BlockedSenders
from pipeline.payments.settle.expiring import ExpiringStrategy
from pipeline.payments.settle.final_blocks import FinalBlocks
from pipeline.payments.settle.inclusion import Inclusions
from pipeline.payments.settle.lookup import Lookup
from pipeline.payments.settle.nonce_queue import NonceQueues
from pipeline.payments.settle.numbered import NumberedStrategy, Numbering
from pipeline.payments.settle.progress import Progress
from pipeline.payments.settle.rebroadcast import Rebroadcasts
from pipeline.payments.settle.recheck import ExpiredRecheck
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.strategy import SettlementStrategy, View
from pipeline.payments.settle.superseded import SupersededPayments
from pipeline.payments.settle.unresolved import UnresolvedPayments
from pipeline.payments.store import PaymentStore

LONGEST_SCAN_SECONDS = 600.0
"""Of blocks. After a longer absence the few payments that were out are looked up one by one."""
_SHORTEST_SCAN = 200
"""Blocks that are always read, however slow the chain."""
_AT_ONCE = 8
"""Node calls under way at once."""


class Settlement:
    """Follows the payments of one chain. ``round`` is called once a block while anything is live."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        transfers: PaymentStore,
        provider: Provider,
        block_seconds: float,
        numbering: Numbering | None = None,
    ) -> None:
        """``numbering``: of a chain whose transactions are numbered; elsewhere they expire."""
        self.chain_id = chain_id
        self.block_seconds = block_seconds
        self.longest_scan = max(_SHORTEST_SCAN, round(LONGEST_SCAN_SECONDS / block_seconds))
        """Blocks."""
        self._store = store
        self._transfers = transfers
        self._provider = provider
        self._slots = asyncio.Semaphore(_AT_ONCE)
        blocks = BlockFollower(self._final_block)
        self._lookup = Lookup(store, provider, self._verdicts, self._slots)
        self._unresolved = UnresolvedPayments(store, self._lookup, blocks, provider.troubles)
        self._final_blocks = FinalBlocks(chain_id, store, blocks, self._lookup, self._unresolved, self.longest_scan)
        self._inclusions = Inclusions(store, self._unresolved, self._head_block)
        self._rebroadcasts = Rebroadcasts(chain_id, store, transfers, provider, block_seconds, self._slots)
        self._recheck = ExpiredRecheck(chain_id, store, provider, self._slots)
        self._progress = Progress(chain_id, block_seconds, self.longest_scan)
        self._blocked_senders = BlockedSenders(chain_id, store)
        self._strategy = self._expiring(blocks) if numbering is None else self._numbered(numbering, blocks)

    def _expiring(self, blocks: BlockFollower) -> SettlementStrategy:
        return ExpiringStrategy(self.chain_id, self._store, self._provider, self._lookup, self._unresolved, blocks)

    def _numbered(self, numbering: Numbering, blocks: BlockFollower) -> SettlementStrategy:
        queues = NonceQueues(self._store, numbering.provider, numbering.replace_after_blocks, self.block_seconds)
        superseded = SupersededPayments(
            self.chain_id,
            self._store,
            numbering.provider,
            self._lookup,
            self._unresolved,
            blocks,
            self.longest_scan,
        )
        return NumberedStrategy(self.chain_id, numbering, queues, superseded, self._final_block, self.longest_scan)

    async def round(self) -> int:
        """Follow the chain once and store what it shows; how many payments are still out, and senders being reconciled.

        Raises ChainUnavailable, WrongNetwork, InconsistentNode, psycopg.Error: nothing is half stored, call it
        again."""
        try:
            return await self._round()
        except CursorMoved as moved:
            logger.info("{}", moved)
            return _count(await self._store.live(self.chain_id))
        except ChainError as trouble:
            self._progress.failed(trouble)
            raise

    async def _round(self) -> int:
        final = await self._provider.block_ref(Finality.FINAL)
        live = await self._store.live(self.chain_id)
        out = {attempt.bundle_id for attempt in live}
        self._lookup.forget_but(out)
        self._strategy.forget_but(out)
        cursor = await self._store.cursor(self.chain_id)
        self._progress.compare_heights(cursor, final)
        if not live:
            self._progress.nothing_out()
            if cursor is None or final.number > cursor.number:
                await self._final_blocks.pass_over(cursor, final)
            return await self._reconcile(final)
        read_up_to = await self._final_blocks.settle(cursor, final, live)
        self._progress.settled(read_up_to)
        live = await self._store.live(self.chain_id)
        if await self._unresolved.ask(live, read_up_to):
            live = await self._store.live(self.chain_id)
        head = await self._provider.block_ref(Finality.HEAD)
        waiting = await self._inclusions.update(read_up_to, head, live)
        self._progress.compare_finality(read_up_to, head)
        await self._strategy.prove(View(read_up_to, head, live, waiting))
        await self._rebroadcasts.send()
        return _count(live) + await self._reconcile(read_up_to)

    async def _reconcile(self, read_up_to: BlockRef) -> int:
        """How many senders are being reconciled. What another process wrote of blocked ones stays until this one has
        looked long enough to know better."""
        senders = await self._strategy.reconcile(read_up_to)
        blocked = self._strategy.blocked()
        if blocked is not None:
            await self._blocked_senders.write(blocked)
        return senders

    def reset(self) -> None:
        """This process leads again, and another one may have followed the chain meanwhile."""
        self._blocked_senders.reset()

    async def tidy(self) -> list[str]:
        """What nobody comes back to: unsent payments of finished jobs, jobs that wait for nothing. Returns alarms:
        payments that the database calls dead and the chain shows, or that happened otherwise than intended."""
        rejected = await self._transfers.reject_orphans(self.chain_id)
        if rejected:
            logger.info("rejected {} unsigned payments whose jobs have finished", len(rejected))
        stranded = await self._store.release_stranded(self.chain_id)
        if stranded:
            logger.warning("{} jobs waited for the chain with no payment out: back to the queue", stranded)
        await self._strategy.audit()
        alarms = [*await self._strategy.alarms(), *self._lookup.alarms(), *self._progress.alarms()]
        for alarm in alarms:
            logger.critical("{}", alarm)
        return [*await self._recheck.alarms(), *alarms, *self._lookup.take_otherwise()]

    async def _verdicts(self, attempts: PaymentAttempts) -> list[Verdict]:
        return await self._strategy.verdicts(attempts)

    async def _final_block(self, number: int) -> BlockContent | None:
        async with self._slots:
            return await self._provider.block(number, Finality.FINAL)

    async def _head_block(self, number: int) -> BlockContent | None:
        return await self._provider.block(number, Finality.HEAD)


def _count(live: Sequence[LiveAttempt]) -> int:
    """Of payments."""
    return len({transfer.id for attempt in live for transfer in attempt.transfers})
