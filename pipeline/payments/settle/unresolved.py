"""Payments that a final block lists, and of which nobody can tell yet how they ended: no node gives a whole receipt, or
nodes disagree about it.

Each holds up only itself. The blocks after its own are settled; it stays 'included' in that block, which is a row and
outlives this process, and is looked up in every round until it is settled. It is neither sent again nor replaced nor
called expired meanwhile: a result that cannot be read proves nothing, and certainly not that the payment is not there.
"""

from collections.abc import Callable, Mapping, Sequence

from loguru import logger

from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainError
from pipeline.chains.values import BlockRef
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.attempts import describe, name_of
from pipeline.payments.settle.lookup import Lookup
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.states import AttemptState


class UnresolvedPayments:
    """Those of one chain."""

    def __init__(
        self, store: SettlementStore, lookup: Lookup, blocks: BlockFollower, troubles: Callable[[], Mapping[str, str]]
    ) -> None:
        """``troubles`` says which nodes failed lately, and why."""
        self._store = store
        self._lookup = lookup
        self._final = blocks
        self._troubles = troubles
        self._blocks: dict[int, str | None] = {}
        """By attempt, the id of the final block that lists it."""
        self._unread: set[int] = set()
        """Attempts whose block could not be read in this round."""

    async def note(self, attempt: LiveAttempt, block: BlockRef) -> None:
        """A final block lists an attempt. Stored before the cursor passes that block. Raises psycopg.Error."""
        await self._store.include([(attempt, block)])
        self._blocks[attempt.id] = block.id
        logger.warning("{} is in final block {}, and how it ended cannot be told yet", describe(attempt), block.number)

    async def settle(self, finding: FoundAttempt) -> None:
        """Settle what is in a final block; where nodes disagree about it, or none confirms it now, it is noted.
        Raises psycopg.Error."""
        if not await self._lookup.settle(finding):
            await self.note(finding.attempt, finding.result.block)

    def holds(self, attempt: LiveAttempt) -> bool:
        """Whether its block is final and lists it, or cannot be read now: it is not called forked away, nor dead."""
        return attempt.id in self._unread or (
            attempt.block_id is not None and self._blocks.get(attempt.id) == attempt.block_id
        )

    async def ask(self, live: Sequence[LiveAttempt], read_up_to: BlockRef) -> bool:
        """Look up again what the cursor has passed without an end; whether any was settled. Raises psycopg.Error."""
        passed = [
            one
            for one in live
            if one.state is AttemptState.INCLUDED
            and one.block_number is not None
            and one.block_number <= read_up_to.number
        ]
        self._unread.clear()
        self._blocks = {one.id: one.block_id for one in passed if self.holds(one) or await self._is_listed(one)}
        bundles = {one.bundle_id: one for one in passed if self.holds(one)}
        looked_up = await self._lookup.look_up([one for one in live if one.bundle_id in bundles])
        for known in looked_up:
            attempt = bundles[known.attempts[0].bundle_id]
            if not known.settled and not self._lookup.is_disputed(attempt.bundle_id):
                self._lookup.dispute(attempt.bundle_id, self._why(attempt))
        return any(known.settled for known in looked_up)

    async def _is_listed(self, attempt: LiveAttempt) -> bool:
        """Whether the block that it was seen in is final and lists it; one that was forked away does not, and one that
        no node has any more says nothing."""
        assert attempt.block_number is not None  # noqa: S101 - asked of included ones only
        try:
            content = await self._final.at(attempt.block_number)
        except ChainError as trouble:
            logger.warning("block {} of {} cannot be read now: {}", attempt.block_number, describe(attempt), trouble)
            self._unread.add(attempt.id)
            return False
        if content is None or content.block.id != attempt.block_id:
            return False
        txid = attempt.signed.txid
        result = next((one for one in content.transactions if one.txid == txid), None)
        if result is None:
            return txid in content.unreadable
        return not self._lookup.is_foreign(FoundAttempt(attempt, result))

    def _why(self, attempt: LiveAttempt) -> str:
        troubles = "; ".join(self._troubles().values()) or "what they give makes no sense"
        return (
            f"{name_of(attempt)}: what became of tx {attempt.signed.txid} in final block "
            f"{attempt.block_number} could not be read: no node that was asked gives a whole receipt of it "
            f"({troubles}). It is neither settled nor paid again, and looked up in every round until it can be read; "
            "nothing else waits for it. Give the chain another node (FLAGPOST_NODES_…, or chains.nodes)"
        )
