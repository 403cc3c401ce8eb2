"""Proof that payments are dead. A node's word only starts it; the final blocks themselves carry it.

    expired    past its expiration, unknown to a node and in none of the blocks that could hold it (TRON)
    overtaken  its nonce is used in a final block, by something that is none of its attempts (EVM):
                 the very same payment and nothing else    its row was lost: booked as found, the payment is final
                 that payment and more                     for people to compare
                 anything else                             buried; what it was enters the books, or its sender is held

Nothing is called dead because a node does not find it, and nothing is decided anew before the chain has decided.
"""

from collections.abc import Sequence
from datetime import timedelta

from loguru import logger

from pipeline.chains.provider import BlockRef
from pipeline.transfers.absence import ReadBlock, search, search_up_to
from pipeline.transfers.booking import Finding, Proof
from pipeline.transfers.fates import Fates, Known, describe
from pipeline.transfers.intents import LiveAttempt
from pipeline.transfers.line import Payments
from pipeline.transfers.settlements import SettlementStore

_LONGEST_UNPROVED = timedelta(minutes=10)
"""Past an expiration, by the final blocks: nodes that are behind are no longer behind then."""


class Burials:
    """The payments of one chain whose time is over, or whose nonce is used."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        fates: Fates,
        read: ReadBlock,
        longest_pause: int,
    ) -> None:
        """``read`` gives final blocks. A search is repeated after ``longest_pause`` blocks at the latest."""
        self._chain_id = chain_id
        self._store = store
        self._fates = fates
        self._read = read
        self._longest_pause = longest_pause
        self._doubts: dict[int, int] = {}
        """By transfer, the head when its nonce was first seen used without it."""
        self._searched: dict[int, int] = {}
        """By transfer, the final block up to which this was searched for in vain."""
        self._alarms: dict[int, str] = {}
        """By transfer, what keeps it from being proved; it is tried again."""
        self._set_aside: dict[int, str] = {}
        """By transfer, why it is for people to decide: what used its nonce did the same, and more."""

    def alarms(self) -> list[str]:
        return [*self._set_aside.values(), *self._alarms.values()]

    def forget_but(self, transfers: set[int]) -> None:
        """Only these are out."""
        self._alarms = {transfer: why for transfer, why in self._alarms.items() if transfer in transfers}
        self._set_aside = {transfer: why for transfer, why in self._set_aside.items() if transfer in transfers}

    def in_line(self, live: Sequence[LiveAttempt]) -> list[LiveAttempt]:
        """Without those that are for people."""
        return [attempt for attempt in live if attempt.transfer_id not in self._set_aside]

    async def expired(self, read_up_to: BlockRef, waiting: Sequence[LiveAttempt]) -> None:
        """Ask after everything whose time is over by the chain's own clock."""
        over = [
            attempt
            for attempt in waiting
            if attempt.signed.expiration is not None and attempt.signed.expiration <= read_up_to.timestamp
        ]
        looked_up = await self._fates.look_up(over)
        unknown = [(one.payment[0], one.dead) for one in looked_up if one.dead is not None]
        unproved = {one.payment[0].id: one.payment[0] for one in looked_up if not one.settled}
        searched = await search([one for one, _ in unknown], self._read)
        for attempt, said in unknown:
            if result := searched.found.get(attempt.id):
                logger.error("{}: not so, it is in block {}", said, result.block.number)
                await self._fates.settle(Finding(attempt, result))
            elif last := searched.absent.get(attempt.id):
                blocks = f"final blocks {attempt.signed.ref_block} to {last.number}"
                await self._bury([attempt], f"{said}; in none of the {blocks}")
            else:
                logger.warning("{}, but its blocks cannot all be read there: not proved", said)
                continue
            del unproved[attempt.id]
            self._alarms.pop(attempt.transfer_id, None)
        for attempt in unproved.values():
            self._tell_unproved(attempt, read_up_to)

    def _tell_unproved(self, attempt: LiveAttempt, read_up_to: BlockRef) -> None:
        expiration = attempt.signed.expiration
        if expiration is not None and read_up_to.timestamp - expiration > _LONGEST_UNPROVED:
            self._alarm(
                attempt.transfer_id,
                f"transfer {attempt.transfer_id} expired at {expiration.isoformat()} and no node proves that it never "
                f"landed: that takes one which has all blocks from {attempt.signed.ref_block} on. Nothing is done yet",
            )

    async def overtaken(self, read_up_to: BlockRef, head: BlockRef, past: Sequence[Payments]) -> None:
        """Ask after payments whose nonce is used in a final block, once the final blocks were read beyond all blocks
        there were when that was first said: these show a payment that no node finds by its id, or what else used its
        nonce."""
        doubts, self._doubts = self._doubts, {}
        searched, self._searched = self._searched, {}
        for known in await self._fates.look_up([attempt for one in past for attempt in one]):
            if known.settled:
                continue
            transfer = known.payment[0].transfer_id
            until = self._doubts[transfer] = doubts.get(transfer, head.number)
            if read_up_to.number < until:
                continue
            if transfer in searched and read_up_to.number < searched[transfer] + self._pause(searched[transfer], until):
                self._searched[transfer] = searched[transfer]
                continue
            await self._judge(known, read_up_to)
            self._searched[transfer] = read_up_to.number

    def _pause(self, last: int, first: int) -> int:
        """Blocks until a search is repeated, ever longer: nothing but another node's answers can change it."""
        return max(1, min(self._longest_pause, last - first))

    async def _judge(self, known: Known, read_up_to: BlockRef) -> None:
        """Search the final blocks for a payment whose nonce is used in them."""
        payment, said = known.payment, known.dead
        evidence = await search_up_to(payment, read_up_to, self._read)
        for attempt in payment:
            if result := evidence.found.get(attempt.id):
                said_of_it = said or "not found"
                logger.error("{}: {}, and it is in block {}", describe(attempt), said_of_it, result.block.number)
                await self._fates.settle(Finding(attempt, result))
        if evidence.found:
            return
        transfer, nonce, sender = payment[0].transfer_id, payment[0].signed.nonce, payment[0].signed.sender
        proof = None if evidence.user is None else Proof(evidence.user, read_up_to)
        if proof is None:
            self._alarm(
                transfer,
                f"transfer {transfer}: {said or 'no node finds it'}, but the final blocks up to {read_up_to.number} do "
                f"not show what used nonce {nonce} of {sender}: not proved, nothing is done",
            )
        elif proof.user.did_only(payment[0].payment):
            await self._settle_found(payment, proof)
        elif proof.user.did(payment[0].payment):
            self._set_aside[transfer] = (
                f"transfer {transfer} was made by tx {proof.user.txid} in final block {proof.user.block.number}, which "
                f"is in no book and did more than that (nonce {nonce} of {sender}). It is not made again; compare "
                "transfers with the chain"
            )
            await self._store.set_aside(transfer, self._set_aside[transfer])
            logger.critical("{}", self._set_aside[transfer])
        elif said is None:
            self._alarm(
                transfer,
                f"transfer {transfer}: nonce {nonce} was used by tx {proof.user.txid} in final block "
                f"{proof.user.block.number}, but no node calls it dead: none has an index that reaches back so far. "
                "Nothing is done",
            )
        else:
            self._alarms.pop(transfer, None)
            used = f"nonce {nonce} was used by tx {proof.user.txid} in block {proof.user.block.number}"
            await self._bury(payment, f"{said}; {used}; in none of the final blocks up to {read_up_to.number}", proof)

    async def _settle_found(self, payment: Payments, proof: Proof) -> None:
        if await self._store.settle_found(self._chain_id, payment, proof):
            self._alarms.pop(payment[0].transfer_id, None)
            logger.critical(
                "{} was made by tx {} in final block {}, which the books had lost: settled as found on the chain",
                *(describe(payment[0]), proof.user.txid, proof.user.block.number),
            )

    async def _bury(self, payment: Payments, evidence: str, proof: Proof | None = None) -> None:
        txids = ", ".join(attempt.signed.txid for attempt in payment)
        reason = f"tx {txids} can never land ({evidence})"
        accounted = await self._store.expire(self._chain_id, payment, reason, proof)
        if accounted is None:
            return
        for job in accounted.given_up:
            logger.error("{} failed for good: {}", describe(payment[0]), job)
        if proof is None:
            if not accounted.given_up:
                logger.warning("{} expired unseen and is proved dead: it is decided anew", describe(payment[0]))
            return
        logger.warning(
            "{} is proved dead: another transaction used its nonce. It is decided anew", describe(payment[0])
        )
        logger.critical("{}", accounted.said)

    def _alarm(self, transfer: int, alarm: str) -> None:
        if transfer not in self._alarms:
            logger.error("{}", alarm)
        self._alarms[transfer] = alarm
