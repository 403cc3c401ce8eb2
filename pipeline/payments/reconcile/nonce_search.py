"""The search for what used nonces of one sender (EVM): final blocks read backward from the newest, over several rounds.

A search that is interrupted goes on where it stopped: first up to the blocks that became final meanwhile, then further
down.
"""

from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum, auto

from pipeline.blocks.follower import BlockFollower
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BlockContent, BlockRef
from pipeline.payments.reconcile.nonce_uses import NonceUse, uses_in

BLOCKS_A_ROUND = 64
"""Read backward for one sender; the next round goes on, so that a long search delays no other payment."""


class Reach(Enum):
    """How far a search has come."""

    DONE = auto()
    """Down to the bottom, or everything wanted is found."""
    UNFINISHED = auto()
    """The next round goes on."""
    MISSING_NEW = auto()
    """No node gives a block above those that were read, yet."""
    MISSING_OLD = auto()
    """No node gives the block below those that were read."""


@dataclass(slots=True)
class NonceSearch:
    """Of one sender, begun at a final block."""

    sender: str
    began: int
    """Height."""
    highest: BlockRef
    lowest: BlockContent
    found: dict[int, NonceUse] = field(default_factory=dict)
    """By nonce."""
    unsure: set[int] = field(default_factory=set)
    """Nonces whose use is a delegation of which no node says that it was accepted."""

    @classmethod
    async def begin(
        cls, sender: str, top: BlockRef, blocks: BlockFollower, provider: NumberedProvider
    ) -> "NonceSearch | None":
        """At a final block; None where no node gives it yet. Raises BlockConflict."""
        newest = await blocks.block(top)
        if newest is None:
            return None
        search = cls(sender, top.number, top, newest)
        await search._note(newest, provider)
        return search

    async def extend(
        self, wanted: set[int] | None, top: BlockRef, bottom: int, blocks: BlockFollower, provider: NumberedProvider
    ) -> Reach:
        """Read on, first up to ``top`` and then down to ``bottom``, as far as one round goes; until all ``wanted`` are
        found, if any are named. Raises BlockConflict."""
        if self.highest.number < top.number:
            async with aclosing(blocks.follow(self.highest, top)) as newer:
                async for content in newer:
                    self.highest = content.block
                    await self._note(content, provider)
            if self.highest.number < top.number:
                return Reach.MISSING_NEW
        if self._is_done(wanted, bottom):
            return Reach.DONE
        stop = max(bottom, self.lowest.block.number - BLOCKS_A_ROUND)
        async with aclosing(blocks.walk_back(self.lowest, stop)) as older:
            async for content in older:
                self.lowest = content
                await self._note(content, provider)
                if self._is_done(wanted, bottom):
                    return Reach.DONE
        return Reach.UNFINISHED if self.lowest.block.number == stop else Reach.MISSING_OLD

    def _is_done(self, wanted: set[int] | None, bottom: int) -> bool:
        """Whether reading further down could show nothing else of the wanted nonces: a transaction of the sender counts
        before a delegation that nobody confirms. Where no block is known below, ``bottom`` is 0, and the whole chain is
        not read for that."""
        if self.lowest.block.number <= bottom:
            return True
        return wanted is not None and self.found.keys() - (self.unsure if bottom else set()) >= wanted

    async def _note(self, content: BlockContent, provider: NumberedProvider) -> None:
        """Keep what a block shows of the sender's nonces. A delegation counts if the nonce that it names was used in
        its block; where no node has a state so old, as long as nothing else shows."""
        for use in uses_in(content, self.sender):
            if use.delegate is None:
                self._keep(use, sure=True)
                continue
            before = await provider.count_at(self.sender, content.block.number - 1)
            later = await provider.count_at(self.sender, content.block.number)
            if before is None or later is None:
                self._keep(use, sure=False)
            elif before <= use.nonce < later:
                self._keep(use, sure=True)

    def _keep(self, use: NonceUse, *, sure: bool) -> None:
        """A transaction of the sender itself, and else the earliest delegation, is what used a nonce."""
        known = self.found.get(use.nonce)
        if known is not None and (known.delegate is None or (use.delegate is not None and not _is_before(use, known))):
            return
        self.found[use.nonce] = use
        self.unsure.discard(use.nonce)
        if not sure:
            self.unsure.add(use.nonce)


def _is_before(use: NonceUse, other: NonceUse) -> bool:
    """Whether a delegation is in an earlier block than another."""
    return bool(use.result and other.result and use.result.block.number < other.result.block.number)
