"""Proof that payments are dead. A node's word only starts it; the final blocks themselves carry it.

    expired    past its expiration, unknown to a node and in none of the blocks that could hold it (TRON)
    overtaken  its nonce is used in a final block, by something that is none of its attempts (EVM):
                 the very same payment and nothing else    its row was lost: booked as found, the payment is final
                 that payment and more                     for people to compare
                 anything else                             buried; what it was enters the books, or its sender is held
                 nothing that any block shows              for people to look for

Nothing is called dead because a node does not find it, and nothing is decided anew before the chain has decided. Where
that is for people, they release the sender (``release_sender``) once they have looked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from loguru import logger

from pipeline.blocks.search import Evidence, ReadBlock, search, search_up_to
from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.values import BlockRef
from pipeline.payments.discipline.nonce_queue import Payments
from pipeline.payments.intents import LiveAttempt
from pipeline.payments.reconcile.nonce_uses import NonceUse
from pipeline.payments.settle.booking import Finding, Proof
from pipeline.payments.settle.lookup import Fates, Known, describe
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.stuck import Nonces, Released, Stuck
from pipeline.payments.settle.unclear import Unclear

_SHOWN_AT_ONCE = 20
"""Payments of a sender, in what is said of it: nobody vouches for one that was not shown. When those are decided, the
next ones are."""
_LONGEST_UNPROVED = timedelta(minutes=10)
"""Past an expiration, by the final blocks: nodes that are behind are no longer behind then."""


@dataclass(frozen=True, slots=True)
class _Alarm:
    """Why a payment is for people, or cannot be proved."""

    attempt: LiveAttempt
    stuck: Stuck


class Burials:
    """The payments of one chain whose time is over, or whose nonce is used."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        fates: Fates,
        unclear: Unclear,
        read: ReadBlock,
        longest_pause: int,
    ) -> None:
        """``read`` gives final blocks. A search is repeated after ``longest_pause`` blocks at the latest."""
        self._chain_id = chain_id
        self._store = store
        self._fates = fates
        self._unclear = unclear
        self._read = read
        self._longest_pause = longest_pause
        self._doubts: dict[int, int] = {}
        """By transfer, the head when its nonce was first seen used without it."""
        self._searched: dict[int, int] = {}
        """By transfer, the final block up to which this was searched for in vain."""
        self._judged: set[int] = set()
        """Payments that were judged since a person has vouched for their sender."""
        self._alarms: dict[int, _Alarm] = {}
        """By transfer, what keeps it from being proved; it is tried again."""
        self._set_aside: dict[int, _Alarm] = {}
        """By transfer, why it is for people to decide: what used its nonce did the same, and more."""

    def alarms(self) -> list[str]:
        return [one.stuck.reason for one in (*self._set_aside.values(), *self._alarms.values())]

    def stuck(self) -> dict[str, Stuck]:
        """Senders with a payment whose nonce is used, and that is for people (EVM)."""
        by_sender: dict[str, dict[int, str]] = {}
        for alarm in (*self._alarms.values(), *self._set_aside.values()):
            if alarm.stuck.unexplained is not None:
                reasons = by_sender.setdefault(alarm.attempt.signed.sender, {})
                reasons[_nonce(alarm.attempt)] = alarm.stuck.reason
        shown = {sender: sorted(reasons.items())[:_SHOWN_AT_ONCE] for sender, reasons in by_sender.items()}
        return {
            sender: Stuck("; ".join(reason for _, reason in some), Nonces.one_by_one(nonce for nonce, _ in some))
            for sender, some in shown.items()
        }

    def forget_but(self, transfers: set[int]) -> None:
        """Only these are out."""
        self._alarms = {transfer: alarm for transfer, alarm in self._alarms.items() if transfer in transfers}
        self._set_aside = {transfer: alarm for transfer, alarm in self._set_aside.items() if transfer in transfers}
        self._judged &= transfers

    async def in_line(self, live: Sequence[LiveAttempt]) -> list[LiveAttempt]:
        """Without those that are for people, who have not spoken yet."""
        if self._set_aside:
            senders = [alarm.attempt.signed.sender for alarm in self._set_aside.values()]
            vouched = await self._store.released(self._chain_id, senders)
            self._set_aside = {
                transfer: alarm
                for transfer, alarm in self._set_aside.items()
                if not _is_vouched([alarm.attempt], vouched)
            }
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
        try:
            searched = await search([one for one, _ in unknown], self._read)
        except ChainUnavailable as trouble:
            logger.warning(
                "{} payments are called dead, and their blocks cannot be read now: {}", len(unknown), trouble
            )
            searched = Evidence()
        for attempt, said in unknown:
            if result := searched.found.get(attempt.id):
                logger.error("{}: not so, it is in block {}", said, result.block.number)
                await self._unclear.settle(Finding(attempt, result))
            elif block := searched.listed.get(attempt.id):
                logger.error("{}: not so, block {} lists it", said, block.number)
                await self._unclear.note(attempt, block)
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
                attempt,
                f"transfer {attempt.transfer_id} expired at {expiration.isoformat()} and no node proves that it never "
                f"landed: that takes one which has all blocks from {attempt.signed.ref_block} on. Nothing is done yet",
            )

    async def overtaken(self, read_up_to: BlockRef, head: BlockRef, past: Sequence[Payments]) -> None:
        """Ask after payments whose nonce is used in a final block, once the final blocks were read beyond all blocks
        there were when that was first said: these show a payment that no node finds by its id, or what else used its
        nonce."""
        doubts, self._doubts = self._doubts, {}
        searched, self._searched = self._searched, {}
        looked_up = await self._fates.look_up([attempt for one in past for attempt in one])
        open_ones = [known for known in looked_up if not known.settled]
        senders = {known.payment[0].signed.sender for known in open_ones}
        vouched = await self._store.released(self._chain_id, list(senders)) if senders else {}
        for known in open_ones:
            transfer = known.payment[0].transfer_id
            until = self._doubts[transfer] = doubts.get(transfer, head.number)
            if read_up_to.number < until:
                continue
            is_new = _is_vouched(known.payment, vouched) and transfer not in self._judged
            if (
                transfer in searched
                and not is_new
                and read_up_to.number < searched[transfer] + self._pause(searched[transfer], until)
            ):
                self._searched[transfer] = searched[transfer]
                continue
            try:
                await self._judge(known, read_up_to, is_vouched=_is_vouched(known.payment, vouched))
            except ChainUnavailable as trouble:
                # What cannot be read for one payment keeps none of the others waiting; it is tried in the next round.
                self._tell_unread(known.payment[0], trouble)
                continue
            self._searched[transfer] = read_up_to.number

    def _pause(self, last: int, first: int) -> int:
        """Blocks until a search is repeated, ever longer: nothing but another node's answers can change it."""
        return max(1, min(self._longest_pause, last - first))

    async def _judge(self, known: Known, read_up_to: BlockRef, *, is_vouched: bool) -> None:
        """Search the final blocks for a payment whose nonce is used in them. ``is_vouched``: a person says that what
        used it, and cannot be explained, was nothing of ours."""
        payment, said = known.payment, known.dead
        first = payment[0]
        if is_vouched:
            self._judged.add(first.transfer_id)
        evidence = await search_up_to(payment, read_up_to, self._read)
        for attempt in payment:
            if result := evidence.found.get(attempt.id):
                said_of_it = said or "not found"
                logger.error("{}: {}, and it is in block {}", describe(attempt), said_of_it, result.block.number)
                await self._unclear.settle(Finding(attempt, result))
            elif block := evidence.listed.get(attempt.id):
                logger.error("{}: {}, and block {} lists it", describe(attempt), said or "not found", block.number)
                await self._unclear.note(attempt, block)
        if evidence.found or evidence.listed:
            self._alarms.pop(first.transfer_id, None)
            return
        user = evidence.user
        denied = None
        if user is None and is_vouched and (evidence.complete or said is not None):
            denied = await self._fates.who_denies(first.signed.sender, _nonce(first))
            user = NonceUse(first.signed.sender, _nonce(first), None) if denied is None else None
        if user is None:
            await self._tell_unexplained(payment, denied or said, complete=evidence.complete)
            return
        proof = Proof(user, read_up_to)
        if user.did_only(first.payment) or (is_vouched and user.did(first.payment)):
            await self._settle_found(payment, proof)
        elif user.did(first.payment):
            await self._set_it_aside(first, proof)
        elif said is None and not is_vouched:
            self._alarm(
                first,
                f"transfer {first.transfer_id}: {user}, but no node calls it dead: none has an index that reaches back "
                f"so far. Nothing is done. Give the chain a node with all receipts; or look for {_txids(payment)} in a "
                f"block explorer, and if there is none of them, {await self._release(first)}",
                _only(first),
            )
        else:
            self._alarms.pop(first.transfer_id, None)
            why = f"{user}; in none of the final blocks up to {read_up_to.number}"
            await self._bury(payment, why if said is None else f"{said}; {why}", proof)

    def _tell_unread(self, attempt: LiveAttempt, trouble: ChainUnavailable) -> None:
        logger.warning("{}: what used its nonce cannot be found out now: {}", describe(attempt), trouble)
        if attempt.transfer_id not in self._alarms:
            self._alarm(
                attempt,
                f"transfer {attempt.transfer_id}: nonce {attempt.signed.nonce} of {attempt.signed.sender} is used, and "
                f"the final blocks that show by what cannot be read: {trouble}. Nothing is done yet. Give the chain "
                "another node (FLAGPOST_NODES_…, or chains.nodes)",
            )

    async def _tell_unexplained(self, payment: Payments, said: str | None, *, complete: bool) -> None:
        first = payment[0]
        nonce, sender = first.signed.nonce, first.signed.sender
        if complete:
            why = "the final blocks do not show by what: a node counts wrong, or the sender's account is a contract's "
            why += "(EIP-7702), which used it itself"
        else:
            why = "the final blocks that show by what cannot all be read: give the chain a node with all blocks"
        self._alarm(
            first,
            f"transfer {first.transfer_id}: {said or 'no node finds it'}. Nonce {nonce} of {sender} is used, and "
            f"{why}: not proved, nothing is done. Look at {sender} in a block explorer: if its transactions there go "
            f"beyond nonce {nonce}, and neither {_txids(payment)} nor another one made this payment, "
            f"{await self._release(first)}",
            _only(first),
        )

    async def _set_it_aside(self, first: LiveAttempt, proof: Proof) -> None:
        reason = (
            f"transfer {first.transfer_id} was made by tx {proof.user.txid}, which is in no book and did more than "
            f"that ({proof.user}; {first.signed.sender}). It is not made again; compare transfers with the chain, and "
            f"to settle it by that transaction, {await self._release(first)}"
        )
        self._set_aside[first.transfer_id] = _Alarm(first, Stuck(reason, _only(first)))
        await self._store.set_aside(first.transfer_id, reason)
        logger.critical("{}", reason)

    async def _release(self, attempt: LiveAttempt) -> str:
        """The end of a sentence."""
        chain = await self._store.chain_name(self._chain_id)
        return f"release it: SELECT release_sender('{chain}', '{attempt.signed.sender}')"

    async def _settle_found(self, payment: Payments, proof: Proof) -> None:
        if await self._store.settle_found(self._chain_id, payment, proof):
            self._alarms.pop(payment[0].transfer_id, None)
            logger.critical(
                "{} was made by what the books had lost ({}): settled as found on the chain",
                *(describe(payment[0]), proof.user),
            )

    async def _bury(self, payment: Payments, evidence: str, proof: Proof | None = None) -> None:
        reason = f"{_txids(payment)} can never land ({evidence})"
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

    def _alarm(self, attempt: LiveAttempt, reason: str, unexplained: Nonces | None = None) -> None:
        if attempt.transfer_id not in self._alarms:
            logger.error("{}", reason)
        self._alarms[attempt.transfer_id] = _Alarm(attempt, Stuck(reason, unexplained))


def _is_vouched(payment: Payments, vouched: Mapping[str, Released]) -> bool:
    """Whether a person has judged what used its nonce: all attempts of it were out by then."""
    released = vouched.get(payment[0].signed.sender)
    return released is not None and all(released.covers(_nonce(one), one.first_broadcast_at) for one in payment)


def _only(attempt: LiveAttempt) -> Nonces:
    return Nonces.one_by_one([_nonce(attempt)])


def _nonce(attempt: LiveAttempt) -> int:
    assert attempt.signed.nonce is not None  # noqa: S101 - only asked of numbered chains
    return attempt.signed.nonce


def _txids(payment: Payments) -> str:
    return "tx " + ", ".join(attempt.signed.txid for attempt in payment)
