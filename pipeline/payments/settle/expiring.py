"""Proves that payments past their expiration can never land (TRON): every final block that could hold them was read,
each the child of the one before.

A node that says "no such transaction" proves nothing: its index may lag, be pruned or be switched off, and several
nodes may answer at one address. A block that is missing is seen to be missing, so that a node that lags proves nothing.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from loguru import logger

from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.provider import Provider
from pipeline.chains.values import BlockContent, BlockRef, Verdict
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.attempts import PaymentAttempts, describe, name_of, txids
from pipeline.payments.settle.lookup import Lookup
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.settle.strategy import Evidence, View, settle_evidence
from pipeline.payments.settle.unresolved import UnresolvedPayments

_LONGEST_UNPROVED = timedelta(minutes=10)
"""Past an expiration, by the final blocks: nodes that are behind are no longer behind then."""


class ExpiringStrategy:
    """A ``SettlementStrategy`` for payments with an expiration."""

    def __init__(
        self,
        chain_id: int,
        store: SettlementStore,
        provider: Provider,
        lookup: Lookup,
        unresolved: UnresolvedPayments,
        blocks: BlockFollower,
    ) -> None:
        self._chain_id = chain_id
        self._store = store
        self._provider = provider
        self._lookup = lookup
        self._unresolved = unresolved
        self._blocks = blocks
        self._alarms: dict[int, str] = {}
        """By bundle, what keeps it from being proved; it is tried again."""

    async def verdicts(self, attempts: PaymentAttempts) -> list[Verdict]:
        return [await self._provider.verdict(attempt.signed) for attempt in attempts]

    async def alarms(self) -> list[str]:
        return list(self._alarms.values())

    def blocked(self) -> None:
        """No payment waits behind another."""

    async def reconcile(self, read_up_to: BlockRef) -> int:
        """Nothing of a sender is counted: what is missing cannot be told from what never was."""
        return 0

    async def audit(self) -> None:
        """As for ``reconcile``."""

    def forget_but(self, bundles: set[int]) -> None:
        self._alarms = {bundle: alarm for bundle, alarm in self._alarms.items() if bundle in bundles}

    async def prove(self, view: View) -> None:
        """Prove everything that is over by the chain's own clock."""
        over = [one for one in view.waiting if _is_over(one, view.read_up_to)]
        looked_up = await self._lookup.look_up(over)
        said = {one.attempts[0].id: one.dead for one in looked_up if one.dead is not None}
        unproved = {one.attempts[0].id: one.attempts[0] for one in looked_up if not one.settled}
        dead = [attempt for attempt in unproved.values() if attempt.id in said]
        evidence = await self._search(dead, view.read_up_to)
        proved = await settle_evidence(dead, evidence, said, self._unresolved)
        for attempt in dead:
            if last := evidence.absent.get(attempt.id):
                blocks = f"final blocks {attempt.signed.ref_block} to {last.number}"
                await self._expire(attempt, f"{said[attempt.id]}; in none of the {blocks}")
                proved.add(attempt.id)
            elif attempt.id not in proved:
                logger.warning("{}, but its blocks cannot all be read there: not proved", said[attempt.id])
        for attempt in unproved.values():
            if attempt.id in proved:
                self._alarms.pop(attempt.bundle_id, None)
            else:
                self._tell_unproved(attempt, view.read_up_to)

    async def _search(self, attempts: Sequence[LiveAttempt], up_to: BlockRef) -> "Absence":
        try:
            return await search_windows(attempts, self._blocks, up_to)
        except ChainUnavailable as trouble:
            logger.warning(
                "{} payments are called expired, and their blocks cannot be read now: {}", len(attempts), trouble
            )
            return Absence()

    async def _expire(self, attempt: LiveAttempt, evidence: str) -> None:
        reason = f"{txids([attempt])} can never land ({evidence})"
        recorded = await self._store.expire(self._chain_id, [attempt], reason)
        if recorded is None:
            return
        for job in recorded.given_up:
            logger.error("{} failed for good: {}", describe(attempt), job)
        if not recorded.given_up:
            logger.warning("{} expired and is in no block, as is proved: it is decided anew", describe(attempt))

    def _tell_unproved(self, attempt: LiveAttempt, read_up_to: BlockRef) -> None:
        expiration = attempt.signed.expiration
        if expiration is None or read_up_to.timestamp - expiration <= _LONGEST_UNPROVED:
            return
        alarm = (
            f"{name_of(attempt)} expired at {expiration.isoformat()} and no node proves that it never "
            f"landed: that takes one which has all blocks from {attempt.signed.ref_block} on. Nothing is done yet"
        )
        if attempt.bundle_id not in self._alarms:
            logger.error("{}", alarm)
        self._alarms[attempt.bundle_id] = alarm


def _is_over(attempt: LiveAttempt, read_up_to: BlockRef) -> bool:
    return attempt.signed.expiration is not None and attempt.signed.expiration <= read_up_to.timestamp


@dataclass(frozen=True, slots=True)
class Absence(Evidence):
    """Also of attempts that no block holds. One that is in no list is not proved: its blocks could not be read to the
    end."""

    absent: dict[int, BlockRef] = field(default_factory=dict)
    """The last block that could have held it, when it is in none of them."""


async def search_windows(attempts: Sequence[LiveAttempt], blocks: BlockFollower, up_to: BlockRef) -> Absence:
    """Search for attempts in the only blocks that can hold them: after the block each refers to (TAPOS), up to the
    first one at or past its expiration, and none above ``up_to``.

    Attempts of about the same time share their blocks. Those without reference or expiration are left out. Raises
    BlockConflict, and what the blocks' reader raises.
    """
    evidence = Absence()
    later = sorted((one for one in attempts if _window(one) is not None), key=lambda one: _window(one) or 0)
    while later:
        opened: dict[str, LiveAttempt] = {}
        async with aclosing(blocks.follow_from(_window(later[0]) or 0, up_to)) as contents:
            async for content in contents:
                while later and _window(later[0]) == content.block.number:
                    one = later.pop(0)
                    opened[one.signed.txid] = one
                _close(content, opened, evidence)
                if not opened:
                    break
            else:
                return evidence
    return evidence


def _window(attempt: LiveAttempt) -> int | None:
    """The height of the block that an attempt refers to; None where its window is unknown."""
    return None if attempt.signed.expiration is None else attempt.signed.ref_block


def _close(content: BlockContent, opened: dict[str, LiveAttempt], evidence: Absence) -> None:
    """Take away every attempt that this block decides."""
    for result in content.transactions:
        if one := opened.pop(result.txid, None):
            evidence.found[one.id] = result
    for txid in content.unreadable:
        if one := opened.pop(txid, None):
            evidence.listed[one.id] = content.block
    for txid, one in list(opened.items()):
        if one.signed.expiration is not None and content.block.timestamp >= one.signed.expiration:
            del opened[txid]
            evidence.absent[one.id] = content.block
