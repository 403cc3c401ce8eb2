"""Proves that payments can never land whose nonce is used in a final block by something that is none of their attempts
(EVM):

    the very same payment and nothing else    its row was lost: settled as found on the chain
    that payment and more                     for an operator to compare
    anything else                             expired; what it was is recorded, or its sender is frozen
    nothing that any block shows              for an operator to search for

Nothing is called dead because a node does not find it. What is for an operator is decided when he has released the
sender (``release_sender``).
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from loguru import logger

from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BlockRef
from pipeline.payments.blocked import Blocked
from pipeline.payments.live import LiveAttempt
from pipeline.payments.nonces import Nonces, Released
from pipeline.payments.reconcile.nonce_counts import node_that_denies
from pipeline.payments.reconcile.nonce_uses import NonceUse, uses_in
from pipeline.payments.reconcile.recording import NonceProof
from pipeline.payments.settle.attempts import PaymentAttempts, describe, name_of, nonce_of, txids
from pipeline.payments.settle.lookup import LookedUp, Lookup
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.strategy import Evidence, settle_evidence
from pipeline.payments.settle.unresolved import UnresolvedPayments

_SHOWN_AT_ONCE = 20
"""Payments of a sender, in what is said of it: an operator releases none that was not shown. When those are decided,
the next ones are shown."""


@dataclass(frozen=True, slots=True)
class _Alarm:
    """Why a payment is for an operator, or cannot be proved."""

    attempt: LiveAttempt
    blocked: Blocked


class SupersededPayments:
    """Of one chain."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        provider: NumberedProvider,
        lookup: Lookup,
        unresolved: UnresolvedPayments,
        blocks: BlockFollower,
        longest_pause: int,
    ) -> None:
        """A search is repeated after ``longest_pause`` blocks at the latest."""
        self._chain_id = chain_id
        self._store = store
        self._provider = provider
        self._lookup = lookup
        self._unresolved = unresolved
        self._blocks = blocks
        self._longest_pause = longest_pause
        self._first_seen: dict[int, int] = {}
        """By bundle, the head when its nonce was first seen used without it."""
        self._searched: dict[int, int] = {}
        """By bundle, the final block up to which this was searched for in vain."""
        self._judged: set[int] = set()
        """Payments that were judged since an operator released their sender."""
        self._alarms: dict[int, _Alarm] = {}
        """By bundle, what keeps it from being proved; it is tried again."""
        self._set_aside: dict[int, _Alarm] = {}
        """By bundle, why it is for an operator to decide: what used its nonce did the same, and more."""

    def alarms(self) -> list[str]:
        return [one.blocked.reason for one in (*self._set_aside.values(), *self._alarms.values())]

    def blocked(self) -> dict[str, Blocked]:
        """Senders with a payment whose nonce is used, and that is for an operator."""
        by_sender: dict[str, dict[int, str]] = {}
        for alarm in (*self._alarms.values(), *self._set_aside.values()):
            if alarm.blocked.unexplained is not None:
                reasons = by_sender.setdefault(alarm.attempt.signed.sender, {})
                reasons[nonce_of(alarm.attempt)] = alarm.blocked.reason
        shown = {sender: sorted(reasons.items())[:_SHOWN_AT_ONCE] for sender, reasons in by_sender.items()}
        return {
            sender: Blocked("; ".join(reason for _, reason in some), Nonces.one_by_one(nonce for nonce, _ in some))
            for sender, some in shown.items()
        }

    def forget_but(self, bundles: set[int]) -> None:
        """Only these are out."""
        self._alarms = {bundle: alarm for bundle, alarm in self._alarms.items() if bundle in bundles}
        self._set_aside = {bundle: alarm for bundle, alarm in self._set_aside.items() if bundle in bundles}
        self._judged &= bundles

    async def undecided(self, live: Sequence[LiveAttempt]) -> list[LiveAttempt]:
        """Without those that are for an operator, who has not released them yet."""
        if self._set_aside:
            senders = [alarm.attempt.signed.sender for alarm in self._set_aside.values()]
            released = await self._store.released(self._chain_id, senders)
            self._set_aside = {
                bundle: alarm
                for bundle, alarm in self._set_aside.items()
                if not _is_released([alarm.attempt], released)
            }
        return [attempt for attempt in live if attempt.bundle_id not in self._set_aside]

    async def prove(self, read_up_to: BlockRef, head: BlockRef, past: Sequence[PaymentAttempts]) -> None:
        """Ask after payments whose nonce is used in a final block, once the final blocks were read beyond all blocks
        there were when that was first seen: these show a payment that no node finds by its id, or what else used its
        nonce."""
        first_seen, self._first_seen = self._first_seen, {}
        searched, self._searched = self._searched, {}
        looked_up = await self._lookup.look_up([attempt for one in past for attempt in one])
        open_ones = [known for known in looked_up if not known.settled]
        senders = {known.attempts[0].signed.sender for known in open_ones}
        released = await self._store.released(self._chain_id, list(senders)) if senders else {}
        for known in open_ones:
            bundle = known.attempts[0].bundle_id
            until = self._first_seen[bundle] = first_seen.get(bundle, head.number)
            if read_up_to.number < until:
                continue
            is_released = _is_released(known.attempts, released)
            last = searched.get(bundle)
            if last is not None and not (is_released and bundle not in self._judged):
                # Nothing but another node's answers can change it: the pause doubles.
                pause = max(1, min(self._longest_pause, last - until))
                if read_up_to.number < last + pause:
                    self._searched[bundle] = last
                    continue
            try:
                await self._judge(known, read_up_to, is_released=is_released)
            except ChainUnavailable as trouble:
                # What cannot be read for one payment delays none of the others; it is tried in the next round.
                self._tell_unread(known.attempts[0], trouble)
                continue
            self._searched[bundle] = read_up_to.number

    async def _judge(self, known: LookedUp, read_up_to: BlockRef, *, is_released: bool) -> None:
        """Search the final blocks for a payment whose nonce is used in them. ``is_released``: an operator says that
        what used it, and cannot be explained, was nothing of ours."""
        attempts, said = known.attempts, known.dead
        first = attempts[0]
        if is_released:
            self._judged.add(first.bundle_id)
        evidence = await search_nonce(attempts, self._blocks, read_up_to)
        words = {} if said is None else {one.id: said for one in attempts}
        if await settle_evidence(attempts, evidence, words, self._unresolved):
            self._alarms.pop(first.bundle_id, None)
            return
        use, denied = evidence.use, None
        if use is None and is_released and (evidence.complete or said is not None):
            denied = await node_that_denies(self._provider, first.signed.sender, nonce_of(first))
            use = NonceUse(first.signed.sender, nonce_of(first), None) if denied is None else None
        if use is None:
            await self._tell_unexplained(attempts, denied or said, complete=evidence.complete)
            return
        proof = NonceProof(use, read_up_to)
        if use.did_only(first.payments) or (is_released and use.did(first.payments)):
            await self._settle_found(attempts, proof)
        elif use.did(first.payments):
            await self._leave_to_operator(first, proof)
        elif said is None and not is_released:
            await self._tell_unindexed(attempts, use)
        else:
            self._alarms.pop(first.bundle_id, None)
            why = f"{use}; in none of the final blocks up to {read_up_to.number}"
            await self._expire(attempts, why if said is None else f"{said}; {why}", proof)

    async def _settle_found(self, attempts: PaymentAttempts, proof: NonceProof) -> None:
        if await self._store.settle_found(self._chain_id, attempts, proof):
            self._alarms.pop(attempts[0].bundle_id, None)
            logger.critical(
                "{} was made by a transaction that was not recorded in the database ({}): settled as found on the "
                "chain",
                *(describe(attempts[0]), proof.use),
            )

    async def _leave_to_operator(self, first: LiveAttempt, proof: NonceProof) -> None:
        reason = (
            f"{name_of(first)} was made by tx {proof.use.txid}, which is not recorded in the database and "
            f"did more than that ({proof.use}; {first.signed.sender}). It is not made again; compare transfers with "
            f"the chain, and to settle it by that transaction, {await self._release(first)}"
        )
        self._set_aside[first.bundle_id] = _Alarm(first, Blocked(reason, _only(first)))
        await self._store.decline_replacement(first, reason)
        logger.critical("{}", reason)

    async def _expire(self, attempts: PaymentAttempts, evidence: str, proof: NonceProof) -> None:
        reason = f"{txids(attempts)} can never land ({evidence})"
        recorded = await self._store.expire(self._chain_id, attempts, reason, proof)
        if recorded is None:
            return
        for job in recorded.given_up:
            logger.error("{} failed for good: {}", describe(attempts[0]), job)
        logger.warning(
            "{} can never land, as is proved: another transaction used its nonce. It is decided anew",
            describe(attempts[0]),
        )
        logger.critical("{}", recorded.said)

    def _tell_unread(self, attempt: LiveAttempt, trouble: ChainUnavailable) -> None:
        logger.warning("{}: what used its nonce cannot be found out now: {}", describe(attempt), trouble)
        if attempt.bundle_id not in self._alarms:
            self._alarm(
                attempt,
                f"{name_of(attempt)}: nonce {attempt.signed.nonce} of {attempt.signed.sender} is used, and "
                f"the final blocks that show by what cannot be read: {trouble}. Nothing is done yet. Give the chain "
                "another node (FLAGPOST_NODES_…, or chains.nodes)",
            )

    async def _tell_unindexed(self, attempts: PaymentAttempts, use: NonceUse) -> None:
        first = attempts[0]
        self._alarm(
            first,
            f"{name_of(first)}: {use}, but no node calls it dead: none has an index that reaches back "
            f"so far. Nothing is done. Give the chain a node with all receipts; or search for {txids(attempts)} in a "
            f"block explorer, and if there is none of them, {await self._release(first)}",
            _only(first),
        )

    async def _tell_unexplained(self, attempts: PaymentAttempts, said: str | None, *, complete: bool) -> None:
        first = attempts[0]
        nonce, sender = first.signed.nonce, first.signed.sender
        if complete:
            why = "the final blocks do not show by what: a node counts wrong, or the sender's account is a contract's "
            why += "(EIP-7702), which used it itself"
        else:
            why = "the final blocks that show by what cannot all be read: give the chain a node with all blocks"
        self._alarm(
            first,
            f"{name_of(first)}: {said or 'no node finds it'}. Nonce {nonce} of {sender} is used, and "
            f"{why}: not proved, nothing is done. Check {sender} in a block explorer: if its transactions there go "
            f"beyond nonce {nonce}, and neither {txids(attempts)} nor another one made this payment, "
            f"{await self._release(first)}",
            _only(first),
        )

    async def _release(self, attempt: LiveAttempt) -> str:
        """The end of a sentence."""
        chain = await self._store.chain_name(self._chain_id)
        return f"release it: flagpost senders release {chain} {attempt.signed.sender}"

    def _alarm(self, attempt: LiveAttempt, reason: str, unexplained: Nonces | None = None) -> None:
        if attempt.bundle_id not in self._alarms:
            logger.error("{}", reason)
        self._alarms[attempt.bundle_id] = _Alarm(attempt, Blocked(reason, unexplained))


@dataclass(frozen=True, slots=True)
class NonceEvidence(Evidence):
    """Also of what else used their nonce. Without a use it is proved of none that it never landed."""

    use: NonceUse | None = None
    """Who else used it. It may have done the very same: then the payment happened."""
    complete: bool = False
    """Whether all that is in the blocks that could hold them was read; without a use they do not show it."""


async def search_nonce(attempts: PaymentAttempts, blocks: BlockFollower, last: BlockRef) -> NonceEvidence:
    """Search for the attempts of a payment, and for what else used their nonce, in the blocks after those that were
    final when they were built, up to ``last``. Nothing is shown where the blocks could not be read to the end.

    Raises BlockConflict, and what the blocks' reader raises.
    """
    starts = [one.signed.ref_block for one in attempts if one.signed.ref_block is not None]
    if len(starts) < len(attempts):
        return NonceEvidence()
    by_txid = {one.signed.txid: one for one in attempts}
    sender, nonce = attempts[0].signed.sender, attempts[0].signed.nonce
    use: NonceUse | None = None
    read: BlockRef | None = None
    complete = True
    async with aclosing(blocks.follow_from(min(starts), last)) as contents:
        async for content in contents:
            read = content.block
            if unreadable := content.unreadable & by_txid.keys():
                return NonceEvidence(listed={by_txid[txid].id: read for txid in unreadable})
            complete = complete and not content.unreadable
            for result in content.transactions:
                if (one := by_txid.get(result.txid)) is not None and one.is_made_by(result):
                    return NonceEvidence(found={one.id: result})
            for other in uses_in(content, sender):
                # Of delegations the first: that one may be carried again by anybody, and is passed over then.
                if other.nonce == nonce and (use is None or other.delegate is None):
                    use = other
    if read is None or read.id != last.id:
        return NonceEvidence()
    return NonceEvidence(use=use, complete=complete)


def _is_released(attempts: PaymentAttempts, released: Mapping[str, Released]) -> bool:
    """Whether an operator has judged what used its nonce: all attempts of it were out by then."""
    found = released.get(attempts[0].signed.sender)
    return found is not None and all(found.covers(nonce_of(one), one.first_broadcast_at) for one in attempts)


def _only(attempt: LiveAttempt) -> Nonces:
    return Nonces.one_by_one([nonce_of(attempt)])
