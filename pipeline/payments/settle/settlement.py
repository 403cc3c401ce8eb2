"""Following payments on the chain to their end: the second half of the protocol, one chain at a time.

    final blocks    read one after the other without a gap; what is found there is settled, a whole block at a time
    newest blocks   what is seen there is 'included'; a forked block gives it back to 'broadcasting'
    unclear         in a final block, and nobody can read how it ended: asked after, and nothing else waits (unclear.py)
    over            past its expiration, or its nonce used by something else: proved dead (burial.py)
    silent          in no block yet: the identical bytes are sent again, ever more slowly (EVM: its line, line.py)
    unknown         transactions of our senders that are in no book (EVM): taken in, or their sender held (strangers.py)

Nothing is signed here. Every round starts by reading the final block and then what is live, in this order: a payment
that goes out later cannot be in a block that was final before.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from loguru import logger

from pipeline.blocks.trail import Trail
from pipeline.chains.errors import ChainError, ChainUnavailable, InconsistentNode
from pipeline.chains.provider import NumberedProvider, Provider
from pipeline.chains.values import BlockContent, BlockRef, Finality
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.discipline.nonce_queue import Line
from pipeline.payments.intents import LiveAttempt
from pipeline.payments.reconcile.store import StrangerStore
from pipeline.payments.reconcile.unrecorded import Strangers
from pipeline.payments.send.sender import send_bytes, short
from pipeline.payments.send.store import TransferStore, refused_by_guard
from pipeline.payments.settle.booking import Finding
from pipeline.payments.settle.expiry import Burials
from pipeline.payments.settle.lookup import Fates, describe
from pipeline.payments.settle.standstill import Standstill
from pipeline.payments.settle.store import CursorMoved, Repeat, SettlementStore
from pipeline.payments.settle.stuck_marks import StuckMarks
from pipeline.payments.settle.unclear import Unclear
from pipeline.payments.states import AttemptState

LONGEST_SCAN_SECONDS = 600.0
"""Of blocks. After a longer absence the few payments that were out are looked up one by one."""
_LONGEST_UNFINAL = timedelta(hours=1)
"""Between the newest block and the newest final one, by their own times: 20 minutes are usual at the most."""
_SHORTEST_SCAN = 200
"""Blocks that are always read, however slow the chain."""
REPLACE_AFTER_BLOCKS = 6
"""As in the table chains."""
_AT_ONCE = 8
"""Node calls under way at once."""
_REPEATS_A_ROUND = 100
_LONGEST_SILENCE_SECONDS = 60.0
"""Cap of the doubling pause between two sends of the same bytes."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """What is needed on a chain whose transactions are numbered."""

    provider: NumberedProvider
    """The chain's provider again."""
    strangers: StrangerStore
    replace_after_blocks: int = REPLACE_AFTER_BLOCKS


class Settlement:
    """Follows the payments of one chain. ``round`` is called once a block while anything is live."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        transfers: TransferStore,
        provider: Provider,
        block_seconds: float,
        numbering: Numbering | None = None,
    ) -> None:
        self.chain_id = chain_id
        self.block_seconds = block_seconds
        self.longest_scan = max(_SHORTEST_SCAN, round(LONGEST_SCAN_SECONDS / block_seconds))
        """Blocks."""
        self._store = store
        self._transfers = transfers
        self._provider = provider
        self._trail = Trail()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        numbered = None if numbering is None else numbering.provider
        self._fates = Fates(store, provider, numbered, self._slots)
        self._unclear = Unclear(store, self._fates, self._final_block, provider.troubles)
        self._burials = Burials(chain_id, store, self._fates, self._unclear, self._final_block, self.longest_scan)
        self._standstill = Standstill(chain_id, block_seconds)
        self._line: Line | None = None
        self._strangers: Strangers | None = None
        if numbering is not None:
            patience = numbering.replace_after_blocks
            self._line = Line(store, numbering.provider, patience, block_seconds)
            self._strangers = Strangers(
                chain_id, numbering.strangers, numbering.provider, self._final_block, self.longest_scan, patience
            )
        self._head: BlockRef
        self._marks = StuckMarks(chain_id, store)
        self._ahead: str | None = None
        """Why final blocks are not read any more."""
        self._unfinal: str | None = None
        """Why there are no new ones."""
        self._looked_up: datetime | None = None
        """When what was looked up last by turns was buried."""

    async def round(self) -> int:
        """Look once at the chain and book what it shows; how many payments are still out, and senders in doubt.

        Raises ChainUnavailable, WrongNetwork, InconsistentNode, psycopg.Error: nothing is half booked, call it
        again."""
        try:
            return await self._round()
        except CursorMoved as moved:
            logger.info("{}", moved)
            return len(await self._store.live(self.chain_id))
        except ChainError as trouble:
            self._standstill.failed(trouble)
            raise

    async def _round(self) -> int:
        final = await self._provider.block_ref(Finality.FINAL)
        live = await self._store.live(self.chain_id)
        out = {attempt.transfer_id for attempt in live}
        self._fates.forget_but(out)
        self._burials.forget_but(out)
        cursor = await self._store.cursor(self.chain_id)
        self._compare_heights(cursor, final)
        if not live:
            self._standstill.nothing_out()
            if cursor is None or final.number > cursor.number:
                await self._pass_over(cursor, final)
            if self._line is not None:
                self._line.is_empty()
            unknown = await self._look_for_strangers(final)
            await self._mark_stuck()
            return unknown
        read_up_to = await self._read_final(cursor, final, live)
        self._standstill.booked(read_up_to)
        live = await self._store.live(self.chain_id)
        if await self._unclear.ask(live, read_up_to):
            live = await self._store.live(self.chain_id)
        waiting = await self._follow_head(read_up_to, live)
        self._compare_finality(read_up_to)
        await self._burials.expired(read_up_to, waiting)
        if self._line is not None:
            past = await self._line.look(self._head, await self._burials.in_line(live), waiting)
            await self._burials.overtaken(read_up_to, self._head, past)
        await self._send_again()
        unknown = await self._look_for_strangers(read_up_to)
        await self._mark_stuck()
        return len({attempt.transfer_id for attempt in live}) + unknown

    def begin_anew(self) -> None:
        """This process leads again, and another one may have followed the chain meanwhile."""
        self._marks.begin_anew()

    async def _mark_stuck(self) -> None:
        """Write down which senders stand still. What another process wrote before stays until this one has looked long
        enough to know better."""
        if self._line is not None and self._strangers is not None:
            await self._marks.write({**self._line.stuck(), **self._strangers.stuck(), **self._burials.stuck()})

    def _compare_heights(self, cursor: BlockRef | None, final: BlockRef) -> None:
        """A node is behind by less than a scan; if all are behind for good, what was booked was never on the chain."""
        if cursor is None or cursor.number - final.number <= self.longest_scan:
            self._ahead = None
        elif self._ahead is None:
            self._ahead = (
                f"final blocks are booked as read up to {cursor.number}, and the nodes have {final.number}: a node "
                "once gave a height that was none, or all are far behind. Nothing is settled nor proved dead "
                "meanwhile. If the nodes are right, delete the row of chain_cursors "
                f"(chain_id {self.chain_id}, confirmations)"
            )

    def _compare_finality(self, final: BlockRef) -> None:
        """Blocks that never become final settle nothing, and no node fails."""
        if self._head.timestamp - final.timestamp <= _LONGEST_UNFINAL:
            self._unfinal = None
        elif self._unfinal is None:
            self._unfinal = (
                f"no block after {final.number} ({final.timestamp:%Y-%m-%d %H:%M:%S} UTC) has become final, and the "
                f"newest is {self._head.number}: nothing is settled nor proved dead meanwhile. Compare with a block "
                "explorer: if the network goes on, give the chain another node (FLAGPOST_NODES_…); if it does not, wait"
            )
            logger.error("{}", self._unfinal)

    async def _look_for_strangers(self, read_up_to: BlockRef) -> int:
        """How many senders made transactions that the books do not know yet."""
        return 0 if self._strangers is None else await self._strangers.look(read_up_to)

    async def tidy(self) -> list[str]:
        """What nobody comes back to: unsent payments of finished jobs, jobs that wait for nothing. Returns alarms:
        payments that the books call dead and the chain shows, or that happened otherwise than intended."""
        rejected = await self._transfers.reject_orphans(self.chain_id)
        if rejected:
            logger.info("gave up {} unsigned payments whose jobs have finished", len(rejected))
        stranded = await self._store.release_stranded(self.chain_id)
        if stranded:
            logger.warning("{} jobs waited for the chain with no payment out: back to the queue", stranded)
        odd = [*self._burials.alarms(), *self._fates.alarms(), *self._standstill.alarms()]
        odd += [why for why in (self._ahead, self._unfinal) if why is not None]
        if self._line is not None and self._strangers is not None:
            await self._strangers.audit()
            odd += [*self._line.alarms(), *await self._strangers.alarms()]
        for alarm in odd:
            logger.critical("{}", alarm)
        return [*await self._risen(), *odd, *self._fates.take_otherwise()]

    async def _risen(self) -> list[str]:
        """Look up what was buried, lately or by turns. None can be there; if one is, it may be paid twice."""
        alarms = []
        found = await self._store.buried(self.chain_id, self._looked_up)
        self._looked_up = max((one.turn for one in found if one.turn is not None), default=None)
        for buried in found:
            try:
                async with self._slots:
                    result = await self._provider.find(buried.txid, Finality.FINAL)
            except ChainError as trouble:
                logger.warning("tx {}, booked {}, cannot be looked up now: {}", buried.txid, buried.state, trouble)
                continue
            if result is not None:
                alarms.append(
                    f"tx {buried.txid} of transfer {buried.transfer_id} is booked {buried.state} and stands in final "
                    f"block {result.block.number}: pause the system and compare transfers with the chain"
                )
                logger.critical("{}", alarms[-1])
        return alarms

    async def _read_final(self, cursor: BlockRef | None, final: BlockRef, live: Sequence[LiveAttempt]) -> BlockRef:
        """Settle everything in the final blocks after the cursor; the block up to which all is booked."""
        start = await self._skip_what_is_too_old(cursor, final, live)
        if start is None or final.number - start.number > self.longest_scan:
            logger.info("final blocks up to {} were not followed: looking up {} payments", final.number, len(live))
            await self._fates.look_up(live)
            if not await self._pass_over(start, final):
                raise ChainUnavailable(f"no node gives final block {final.number}, which one of them has named")
            return final
        booked, proved, above = start, start, start
        found: list[Finding] = []
        unclear: list[LiveAttempt] = []
        by_txid = {attempt.signed.txid: attempt for attempt in live}
        for first in range(start.number + 1, final.number + 1, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, final.number + 1))
            for content in await asyncio.gather(*(self._final_block(number) for number in numbers)):
                if content is None:
                    return await self._book(booked, proved)
                if content.parent_id != above.id:
                    raise InconsistentNode(
                        f"final block {content.block.number} does not follow block {above.number} {above.id} that was "
                        "final before: a node of another network, or the network was set up anew. Nothing is booked "
                        "until the nodes agree with chain_cursors"
                    )
                booked = await self._settle_block(booked, above, found, unclear)
                proved, above = above, content.block
                found = [Finding(by_txid[one.txid], one) for one in content.transactions if one.txid in by_txid]
                unclear = [by_txid[txid] for txid in sorted(content.unreadable & by_txid.keys())]
        if above.number == final.number and above.id != final.id:
            raise InconsistentNode(
                f"final block {final.number} is {final.id} by one answer and {above.id} by another: "
                "nothing of it is booked"
            )
        return await self._book(await self._settle_block(booked, above, found, unclear), above)

    async def _settle_block(
        self, booked: BlockRef, block: BlockRef, found: Sequence[Finding], unclear: Sequence[LiveAttempt]
    ) -> BlockRef:
        """Settle all of a block that is proved to be on the chain, and the cursor with it; up to where all is booked,
        which is ``booked`` where there was nothing, or one that the database refuses was left out. What is ``unclear``,
        or nodes disagree about, is noted before the cursor passes it."""
        for attempt in unclear:
            await self._unclear.note(attempt, block)
        findings = []
        for finding in found:
            if self._fates.is_foreign(finding):
                continue
            if await self._fates.is_agreed(finding):
                findings.append(finding)
            else:
                await self._unclear.note(finding.attempt, block)
        if not findings:
            return booked
        try:
            rows = await self._store.settle_block(self.chain_id, booked, block, findings)
        except psycopg.Error as error:
            if not refused_by_guard(error):
                raise
            for finding in findings:
                await self._unclear.settle(finding)
            return booked
        self._fates.tell(findings, {row["attempt_id"] for row in rows})
        return block

    async def _pass_over(self, cursor: BlockRef | None, final: BlockRef) -> bool:
        """Book all blocks up to ``final`` as read, once a node gave that block itself: with a wrong digit in a height
        or an id, from one answer, no later block would ever follow the cursor. False where no node has it yet."""
        content = await self._final_block(final.number)
        if content is None:
            return False
        if content.block.id != final.id:
            raise InconsistentNode(
                f"final block {final.number} is {final.id} by one answer and {content.block.id} by another: "
                "it is not booked as read"
            )
        await self._store.advance(self.chain_id, cursor, final)
        return True

    async def _book(self, booked: BlockRef, read: BlockRef) -> BlockRef:
        if read.number > booked.number:
            await self._store.advance(self.chain_id, booked, read)
        return read

    async def _skip_what_is_too_old(
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
        content = await self._final_block(oldest)
        if content is None:
            return cursor
        await self._store.advance(self.chain_id, cursor, content.block)
        return content.block

    async def _follow_head(self, final: BlockRef, live: Sequence[LiveAttempt]) -> list[LiveAttempt]:
        """Mark what the newest blocks show, take back what they no longer show; what is in no block now."""
        head = self._head = await self._provider.block_ref(Finality.HEAD)
        await self._trail.follow(final, head, lambda number: self._provider.block(number, Finality.HEAD))
        seen, gone, waiting = [], [], []
        for attempt in live:
            block = self._trail.block_of(attempt.signed.txid)
            if block is not None:
                if block.id != attempt.block_id:
                    seen.append((attempt, block))
            elif self._unclear.holds(attempt):
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
        return attempt.block_number <= final.number or self._trail.contradicts(attempt.block_number, attempt.block_id)

    async def _send_again(self) -> None:
        head = await self._provider.block_ref(Finality.HEAD)
        repeats = await self._store.claim_repeats(
            self.chain_id, head.timestamp, self.block_seconds, _LONGEST_SILENCE_SECONDS, _REPEATS_A_ROUND
        )
        await asyncio.gather(*map(self._repeat, repeats))

    async def _repeat(self, repeat: Repeat) -> None:
        async with self._slots:
            reply = await send_bytes(self._provider, repeat.signed, repeat.count - 1)
        crash_here(CrashPoint.REBROADCAST_SENT)
        logger.info("again  tx {}, send {}: {}", short(repeat.signed.txid), repeat.count, reply)
        try:
            await self._transfers.record_reply(repeat.attempt_id, reply)
        except psycopg.Error as trouble:
            logger.warning("the reply to tx {} was not written down: {}", short(repeat.signed.txid), trouble)

    async def _final_block(self, number: int) -> BlockContent | None:
        async with self._slots:
            return await self._provider.block(number, Finality.FINAL)
