"""Following payments on the chain to their end: the second half of the protocol, one chain at a time.

    final blocks    read one after the other without a gap; what is found there is settled, a whole block at a time
    newest blocks   what is seen there is 'included'; a forked block gives it back to 'broadcasting'
    expired         past its expiration, unknown to a node and in none of the blocks that could hold it: dead, may be
                    signed anew (EVM: its nonce was used by somebody else, see line.py)
    silent          in no block yet: the identical bytes are sent again, ever more slowly

Nothing is signed here. Every round starts by reading the final block and then what is live, in this order: a payment
that goes out later cannot be in a block that was final before.
"""

import asyncio
from collections.abc import Sequence

import psycopg
from loguru import logger

from pipeline.chains.errors import ChainError, ChainUnavailable, LyingNode
from pipeline.chains.provider import BlockContent, BlockRef, Fate, Finality, NumberedProvider, Provider, Verdict
from pipeline.transfers.absence import search, search_up_to
from pipeline.transfers.crashpoints import CrashPoint, crash_here
from pipeline.transfers.intents import Kind, LiveAttempt
from pipeline.transfers.line import Line, Payments, payments_of
from pipeline.transfers.send import send_bytes, short
from pipeline.transfers.settlements import CursorMoved, Finding, Repeat, SettlementStore
from pipeline.transfers.states import AttemptState
from pipeline.transfers.store import TransferStore
from pipeline.transfers.trail import Trail
from pipeline.units import to_human

LONGEST_SCAN = 200
"""Blocks, ten minutes on TRON. After a longer absence the few payments that were out are looked up one by one."""
REPLACE_AFTER_BLOCKS = 6
"""As in the table chains."""
_AT_ONCE = 8
"""Node calls under way at once."""
_REPEATS_A_ROUND = 100
_LONGEST_SILENCE_SECONDS = 60.0
"""Cap of the doubling pause between two sends of the same bytes."""


class Settlement:
    """Follows the payments of one chain. ``round`` is called once a block while anything is live."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        transfers: TransferStore,
        provider: Provider,
        block_seconds: float,
        *,
        numbered: NumberedProvider | None = None,
        replace_after_blocks: int = REPLACE_AFTER_BLOCKS,
    ) -> None:
        """``numbered`` is the provider again, on chains whose transactions have nonces."""
        self.chain_id = chain_id
        self.block_seconds = block_seconds
        self._store = store
        self._transfers = transfers
        self._provider = provider
        self._trail = Trail()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._numbered = numbered
        self._line = None if numbered is None else Line(chain_id, store, numbered, replace_after_blocks)
        self._head: BlockRef
        self._doubts: dict[int, int] = {}
        """By transfer, the head when its nonce was first seen used without it."""

    async def round(self) -> int:
        """Look once at the chain and book what it shows; how many payments are still out.

        Raises ChainUnavailable, WrongNetwork, LyingNode, psycopg.Error: nothing is half booked, call it again."""
        try:
            return await self._round()
        except CursorMoved as moved:
            logger.info("{}", moved)
            return len(await self._store.live(self.chain_id))

    async def _round(self) -> int:
        final = await self._provider.block_ref(Finality.FINAL)
        live = await self._store.live(self.chain_id)
        cursor = await self._store.cursor(self.chain_id)
        if not live:
            if cursor is None or final.number > cursor.number:
                await self._store.advance(self.chain_id, cursor, final)
            return 0
        read_up_to = await self._read_final(cursor, final, live)
        live = await self._store.live(self.chain_id)
        waiting = await self._follow_head(read_up_to, live)
        await self._prove_dead(read_up_to, waiting)
        if self._line is not None:
            await self._prove_overtaken(read_up_to, await self._line.look(self._head, live, waiting))
        await self._send_again()
        return len({attempt.transfer_id for attempt in live})

    async def tidy(self) -> list[str]:
        """What nobody comes back to: unsent payments of finished jobs, jobs that wait for nothing. Returns alarms:
        payments that the books call dead and the chain shows."""
        rejected = await self._transfers.reject_orphans(self.chain_id)
        if rejected:
            logger.info("gave up {} unsent payments whose jobs have finished", len(rejected))
        stranded = await self._store.release_stranded(self.chain_id)
        if stranded:
            logger.warning("{} jobs waited for the chain with no payment out: back to the queue", stranded)
        return await self._risen()

    async def _risen(self) -> list[str]:
        """Look up what was buried lately. It cannot be there; were it, a payment may have been made twice."""
        alarms = []
        for buried in await self._store.buried(self.chain_id):
            async with self._slots:
                result = await self._provider.find(buried.txid, Finality.FINAL)
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
        if start is None or final.number - start.number > LONGEST_SCAN:
            logger.info("final blocks up to {} were not followed: looking up {} payments", final.number, len(live))
            await self._look_up_all(live)
            await self._store.advance(self.chain_id, start, final)
            return final
        booked, above = start, start
        by_txid = {attempt.signed.txid: attempt for attempt in live}
        for first in range(start.number + 1, final.number + 1, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, final.number + 1))
            for content in await asyncio.gather(*(self._final_block(number) for number in numbers)):
                if content is None:
                    return await self._book(booked, above)
                if unclear := content.unreadable & by_txid.keys():
                    await self._book(booked, above)
                    await self._look_up_all([by_txid[txid] for txid in unclear])  # other nodes are asked, too
                    raise ChainUnavailable(
                        f"what became of our tx {', '.join(sorted(unclear))} in final block {content.block.number} "
                        "could not be read"
                    )
                if content.parent_id != above.id:
                    raise LyingNode(
                        f"final block {content.block.number} does not follow block {above.number} {above.id} that was "
                        "final before: a node of another network, or the network was set up anew. Nothing is booked "
                        "until the nodes agree with chain_cursors"
                    )
                above = content.block
                findings = [
                    Finding(by_txid[result.txid], result) for result in content.transactions if result.txid in by_txid
                ]
                if findings:
                    rows = await self._store.settle_block(self.chain_id, booked, content.block, findings)
                    booked = content.block
                    _tell_settled(findings, {row["attempt_id"] for row in rows})
        return await self._book(booked, above)

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
            elif attempt.state is AttemptState.INCLUDED and self._is_gone(attempt, final):
                gone.append(attempt)
                waiting.append(attempt)
            elif attempt.state is AttemptState.BROADCASTING:
                waiting.append(attempt)
        if seen:
            await self._store.include(seen)
            for attempt, block in seen:
                logger.debug("{} in block {}", _describe(attempt), block.number)
        if gone:
            await self._store.reorg(gone)
            for attempt in gone:
                logger.warning("{} was in block {}, which was forked away", _describe(attempt), attempt.block_number)
        return waiting

    def _is_gone(self, attempt: LiveAttempt, final: BlockRef) -> bool:
        """Its block is not on the chain: another stands there, or the final blocks beyond were read without it."""
        if attempt.block_number is None or attempt.block_id is None:
            return True
        return attempt.block_number <= final.number or self._trail.contradicts(attempt.block_number, attempt.block_id)

    async def _prove_dead(self, read_up_to: BlockRef, waiting: Sequence[LiveAttempt]) -> None:
        """Ask after everything whose time is over by the chain's own clock. A node's word that it knows no such
        transaction only starts the proof: it is buried once every block that could hold it was searched, too."""
        over = [
            attempt
            for attempt in waiting
            if attempt.signed.expiration is not None and attempt.signed.expiration <= read_up_to.timestamp
        ]
        unknown = [(payment[0], said) for payment, said in await self._look_up_all(over) if said is not None]
        searched = await search([one for one, _ in unknown], self._final_block)
        for attempt, said in unknown:
            if result := searched.found.get(attempt.id):
                logger.error("{}: not so, it is in block {}", said, result.block.number)
                await self._settle_straggler(Finding(attempt, result))
            elif last := searched.absent.get(attempt.id):
                blocks = f"final blocks {attempt.signed.ref_block} to {last.number}"
                await self._bury([attempt], f"{said}; in none of the {blocks}")
            else:
                logger.warning("{}, but its blocks cannot all be read there: not proved", said)

    async def _prove_overtaken(self, read_up_to: BlockRef, past: Sequence[Payments]) -> None:
        """Ask after payments whose nonce is used in a final block. Again a node's word only starts the proof: they are
        buried once the final blocks were read beyond all blocks there were then, and hold none of them."""
        doubts, self._doubts = self._doubts, {}
        for payment, said in await self._look_up_all([attempt for one in past for attempt in one]):
            if said is None:
                continue
            transfer = payment[0].transfer_id
            until = self._doubts[transfer] = doubts.get(transfer, self._head.number)
            if read_up_to.number < until:
                continue
            searched = await search_up_to(payment, read_up_to, self._final_block)
            for attempt in payment:
                if result := searched.found.get(attempt.id):
                    logger.error("{}: not so, it is in block {}", said, result.block.number)
                    await self._settle_straggler(Finding(attempt, result))
            if len(searched.absent) == len(payment):
                await self._bury(payment, f"{said}; in none of the final blocks up to {read_up_to.number}")
            elif not searched.found:
                logger.warning("{}, but its blocks cannot all be read: not proved", said)

    async def _look_up_all(self, attempts: Sequence[LiveAttempt]) -> list[tuple[Payments, str | None]]:
        """Settle those that a node shows final; why the others are dead, as far as that one node can know."""
        payments = payments_of(attempts)
        return list(zip(payments, await asyncio.gather(*map(self._look_up, payments)), strict=True))

    async def _look_up(self, payment: Payments) -> str | None:
        """All live attempts of one payment, because what one of them did not do another may have done. One that nobody
        can tell anything of holds up none of the others, and is asked after in the next round."""
        async with self._slots:
            try:
                verdicts = await self._verdicts(payment)
            except ChainError as trouble:
                logger.warning("{} cannot be looked up now: {}", _describe(payment[0]), trouble)
                return None
        for attempt, verdict in zip(payment, verdicts, strict=True):
            if verdict.fate is Fate.FINAL and verdict.result is not None:
                await self._settle_straggler(Finding(attempt, verdict.result))
                return None
        return verdicts[0].evidence if all(verdict.fate is Fate.DEAD for verdict in verdicts) else None

    async def _verdicts(self, payment: Payments) -> list[Verdict]:
        if self._numbered is None:
            return [await self._provider.verdict(attempt.signed) for attempt in payment]
        return await self._numbered.verdicts([attempt.signed for attempt in payment])

    async def _settle_straggler(self, finding: Finding) -> None:
        rows = await self._store.settle_straggler(finding)
        _tell_settled([finding], {row["attempt_id"] for row in rows})

    async def _bury(self, payment: Payments, evidence: str) -> None:
        txids = ", ".join(attempt.signed.txid for attempt in payment)
        if await self._store.expire(payment, f"tx {txids} can never land ({evidence})"):
            logger.warning("{} {}", _describe(payment[0]), _why_dead(payment[0]))

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


def _tell_settled(findings: Sequence[Finding], booked: set[int]) -> None:
    """One line for each payment that this round settled."""
    for finding in findings:
        if finding.attempt.id not in booked:
            continue
        where = f"block {finding.result.block.number}"
        if finding.error is None:
            logger.success("settled {} in {}", _describe(finding.attempt), where)
        else:
            logger.error("reverted {} in {}: {}", _describe(finding.attempt), where, finding.error)


def _why_dead(attempt: LiveAttempt) -> str:
    if attempt.signed.nonce is None:
        return "expired unseen and is proved dead: it is decided anew"
    return (
        f"is proved dead: nonce {attempt.signed.nonce} of {attempt.signed.sender} was used by a transaction "
        "that is not ours. Who else has this key? It is decided anew"
    )


def _describe(attempt: LiveAttempt) -> str:
    payment = attempt.payment
    arrow = "←" if attempt.kind == Kind.GAS else "→"
    amount = f"{to_human(payment.amount, payment.asset.decimals)} {payment.asset.symbol}"
    return f"{attempt.kind} {attempt.wallet} {arrow} {amount} (tx {short(attempt.signed.txid)})"
