"""Transactions of our own senders that are in no book (EVM): payments of a database that lost its last commits, or the
doing of somebody else who has the key.

Whoever pays sees them first, by a count of the sender's transactions that is beyond what the books know: it signs
nothing and says so. Here they are looked for, as nothing may be guessed:

    in final blocks          read backwards from the newest, until each nonce has its transaction: a payment like ours
                             is taken into the books, anything else holds the sender until a person has looked
    in blocks not final      waited for
    in a node's pool only    waited for a while; then their nonces are filled, and one or the other lands
    in no pool any more      likewise waited for: nodes forget, and one of several at an address never knew

Only then does the sender pay again. A sender that was never paid from here begins with what it has done lately; what is
older was before our books of it.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from loguru import logger

from pipeline.chains.errors import ChainError, LyingNode
from pipeline.chains.provider import BlockContent, BlockRef, NonceCounts, NumberedProvider, TransactionResult
from pipeline.transfers.absence import ReadBlock
from pipeline.transfers.strangers_store import Doubted, StrangerStore

_WIDEST_GAP = 100
"""Nonces of a sender a day. More in a pool, that nobody here knows, are a node's nonsense or for people: filling each
costs coins."""
_MOST_UNKNOWN = 10_000
"""Nonces. More than that nobody has forgotten: a node talks nonsense."""
_AT_ONCE = 8
"""Blocks read at once."""
_BLOCKS_A_ROUND = 64
"""Read backwards for one sender; the next round goes on, so that a long search keeps no other payment waiting."""


_SENDERS_A_ROUND = 32
"""In doubt, and looked into; the next round goes on with others."""
_SENDERS_AT_ONCE = 4
"""Each asks a handful of things of a node."""
_AUDITED_AT_ONCE = 4
"""Senders beside the one that pays gas: a constant cost, however many there are."""


@dataclass(slots=True)
class _Search:
    """Final blocks read backwards for the transactions of one sender, each the parent of the one read before."""

    began: int
    """Height."""
    highest: BlockRef
    lowest: BlockContent
    found: dict[int, TransactionResult] = field(default_factory=dict)
    """By nonce."""

    def note(self, sender: str, content: BlockContent) -> None:
        """What the sender did in a block."""
        for result in content.transactions:
            if result.sender == sender and result.nonce is not None:
                self.found[result.nonce] = result


class Strangers:
    """The senders of one chain that are in doubt."""

    def __init__(
        self,
        chain_id: int,
        store: StrangerStore,
        provider: NumberedProvider,
        read: ReadBlock,
        look_back: int,
        patience_blocks: int,
    ) -> None:
        """``read`` gives final blocks. So many of them are looked at for a sender that was never paid from here;
        ``patience_blocks`` pass before nonces that only a pool holds are filled."""
        self._chain_id = chain_id
        self._store = store
        self._provider = provider
        self._read = read
        self._look_back = look_back
        self._patience = patience_blocks
        self._slots = asyncio.Semaphore(_SENDERS_AT_ONCE)
        self._doubted = ""
        """The last one looked into, in the order of addresses; empty: all were."""
        self._searches: dict[str, _Search] = {}
        self._pooled: dict[str, int] = {}
        """By sender, the final height at which only a pool held what is unknown."""
        self._vanished: dict[str, int] = {}
        """By sender, the final height since which no pool shows what one has shown."""
        self._unseen: dict[str, tuple[int, int]] = {}
        """By sender that was trusted, what somebody had seen of it and no node did here, and what the books knew."""
        self._audited = ""
        """The last one audited, in the order of addresses."""
        self._alarms: dict[str, str] = {}
        """By sender, why nothing can be found out."""

    async def alarms(self) -> list[str]:
        """Senders that are held, and those of which nothing can be found out."""
        return [*await self._store.held(self._chain_id), *self._alarms.values()]

    async def audit(self) -> None:
        """Compare a few senders of whom nobody asks anything: whoever has a key of ours is to be seen before the sender
        pays again. Trouble with one hides none of the others. Raises psycopg.Error."""
        senders = await self._store.audited(self._chain_id, self._audited, _AUDITED_AT_ONCE)
        others = [sender for sender, pays_gas in senders if not pays_gas]
        self._audited = others[-1] if others else ""
        for sender in {sender for sender, _ in senders}:
            try:
                counted = await self._provider.sender_nonces(sender)
            except ChainError as trouble:
                logger.warning("the transactions of {} cannot be counted now: {}", sender, trouble)
                continue
            if await self._store.doubt_if_unknown(self._chain_id, sender, counted.seen):
                logger.error("{} has made transactions that the books do not know: they are looked for", sender)

    async def look(self, read_up_to: BlockRef) -> int:
        """Look into every doubt once; how many remain. All final blocks up to ``read_up_to`` are booked as read.

        Trouble with one sender holds up none of the others. Raises psycopg.Error."""
        doubted = await self._store.doubted(self._chain_id, self._doubted, _SENDERS_A_ROUND)
        all_of_them = len(doubted) < _SENDERS_A_ROUND
        if all_of_them and not self._doubted:
            senders = {one.sender for one in doubted}
            self._searches = {sender: search for sender, search in self._searches.items() if sender in senders}
            self._pooled = {sender: height for sender, height in self._pooled.items() if sender in senders}
            self._vanished = {sender: height for sender, height in self._vanished.items() if sender in senders}
            self._alarms = {sender: alarm for sender, alarm in self._alarms.items() if sender in senders}
        self._doubted = "" if all_of_them else doubted[-1].sender
        resolved = await asyncio.gather(*(self._try_to_resolve(one, read_up_to) for one in doubted))
        return len(doubted) - sum(resolved)

    async def _try_to_resolve(self, one: Doubted, read_up_to: BlockRef) -> bool:
        async with self._slots:
            try:
                return await self._look_into(one, read_up_to)
            except ChainError as trouble:
                self._searches.pop(one.sender, None)
                logger.warning("transactions of {} cannot be looked for now: {}", one.sender, trouble)
                return False

    async def _look_into(self, one: Doubted, read_up_to: BlockRef) -> bool:
        """Whether nothing is unknown of a sender any more."""
        counted = await self._provider.sender_nonces(one.sender)
        final = await self._provider.count_at(one.sender, read_up_to.number)
        if final is None:
            final = counted.finalized
        if one.next_nonce is None:
            if counted.latest == final:
                await self._introduce(one.sender, final, read_up_to)
            return False
        if final - one.next_nonce > _MOST_UNKNOWN:
            self._alarm(
                one.sender,
                f"a node counts {final} final transactions of {one.sender}, and the books know {one.next_nonce}: too "
                "many to be true. It pays nothing meanwhile",
            )
            return False
        missing = {nonce for nonce in (*one.void, *range(one.next_nonce, final)) if nonce < final}
        if missing:
            if await self._search(one.sender, missing, read_up_to):
                await self._account_for(one.sender, missing, read_up_to)
            return False
        if counted.latest > one.next_nonce:
            return False
        if counted.pending > one.next_nonce:
            self._vanished.pop(one.sender, None)
            await self._wait_for_the_pool(one, counted, read_up_to)
            return False
        if one.unknown_below > one.next_nonce:
            if self._unseen.get(one.sender) == (one.unknown_below, one.next_nonce):
                self._alarm(
                    one.sender,
                    f"who pays is shown {one.unknown_below} transactions of {one.sender} again and again, and "
                    f"no node of the confirmation worker shows more than {one.next_nonce}. It pays nothing until they "
                    "agree: give both processes the same nodes",
                )
            since = self._vanished.setdefault(one.sender, read_up_to.number)
            if read_up_to.number - since < self._patience:
                return False
        if one.filling or not await self._store.trust(self._chain_id, one):
            return False
        if one.unknown_below > one.next_nonce:
            self._unseen[one.sender] = (one.unknown_below, one.next_nonce)
        else:
            self._unseen.pop(one.sender, None)
        self._pooled.pop(one.sender, None)
        self._vanished.pop(one.sender, None)
        self._alarms.pop(one.sender, None)
        logger.info("all transactions of {} are in the books: it may pay again", one.sender)
        return True

    async def _introduce(self, sender: str, final: int, read_up_to: BlockRef) -> None:
        """Begin the books of a sender that has made transactions before. Those of the last blocks may be of a database
        that lost its commits, and are looked at; older ones are not ours to explain."""
        search = self._searches.get(sender)
        oldest = max(0, (read_up_to.number if search is None else search.began) - self._look_back)
        first = final
        if await self._provider.count_at(sender, oldest) != final:
            search = await self._extend(sender, None, read_up_to, oldest)
            if search is None:
                return
            while first - 1 in search.found:
                first -= 1
        logger.info("{} made {} transactions before our books of it, which begin with nonce {}", sender, first, first)
        await self._store.introduce(self._chain_id, sender, first)

    async def _search(self, sender: str, missing: set[int], read_up_to: BlockRef) -> bool:
        """Whether every one of these nonces has its transaction."""
        lowest = await self._store.known_block(self._chain_id, sender, min(missing))
        search = await self._extend(sender, missing, read_up_to, lowest)
        if search is None:
            return False
        if search.found.keys() >= missing:
            self._alarms.pop(sender, None)
            return True
        self._searches.pop(sender)
        self._alarm(
            sender,
            f"{sender} has used nonces {min(missing)} to {max(missing)}, which the books do not know, and the final "
            f"blocks from {lowest} to {read_up_to.number} do not show by what: a node counts wrong, or gives blocks "
            "that cannot be read. It pays nothing until that is found out",
        )
        return False

    async def _extend(self, sender: str, wanted: set[int] | None, top: BlockRef, bottom: int) -> _Search | None:
        """Read on, first up to ``top`` and then down to ``bottom``, as far as one round goes. None: ``bottom`` was not
        reached, nor (if any are named) all that are wanted. Raises LyingNode where the blocks do not hang together."""
        search = self._searches.get(sender)
        if search is None:
            newest = await self._read(top.number)
            if newest is None:
                return None
            if newest.block.id != top.id:
                raise LyingNode(f"final block {top.number} is {newest.block.id}, and {top.id} was booked as read")
            search = self._searches[sender] = _Search(top.number, top, newest)
            search.note(sender, newest)
        while search.highest.number < top.number:
            above = await self._read(search.highest.number + 1)
            if above is None:
                return None
            _hangs_on(above, search.highest.id)
            search.highest = above.block
            search.note(sender, above)
        for _ in range(_BLOCKS_A_ROUND // _AT_ONCE):
            height = search.lowest.block.number
            if height <= bottom or (wanted is not None and search.found.keys() >= wanted):
                return search
            for below in await asyncio.gather(
                *map(self._read, range(height - 1, max(bottom, height - _AT_ONCE) - 1, -1))
            ):
                if below is None:
                    self._alarm(
                        sender,
                        f"{sender} has made transactions that the books do not know, and no node gives final block "
                        f"{search.lowest.block.number - 1}, where they may be: it pays nothing until one does",
                    )
                    return None
                _hangs_on(search.lowest, below.block.id)
                search.lowest = below
                search.note(sender, below)
        if search.began - search.lowest.block.number > self._look_back:
            self._alarm(
                sender,
                f"{sender} has made transactions that the books do not know: none of them is found in the final blocks "
                f"back to {search.lowest.block.number}, and the search goes on. It pays nothing meanwhile",
            )
        return search if search.lowest.block.number <= bottom else None

    async def _account_for(self, sender: str, missing: Collection[int], read_up_to: BlockRef) -> None:
        """Take them into the books in the order of their nonces."""
        found = self._searches.pop(sender).found
        for nonce in sorted(missing):
            accounted = await self._store.account_for(self._chain_id, found[nonce], read_up_to)
            logger.critical("{}: {}", sender, accounted.said)

    async def _wait_for_the_pool(self, one: Doubted, counted: NonceCounts, read_up_to: BlockRef) -> None:
        since = self._pooled.setdefault(one.sender, read_up_to.number)
        unknown = range(one.next_nonce or 0, counted.pending)
        if read_up_to.number - since < self._patience:
            return
        if one.filled + len(unknown) > _WIDEST_GAP:
            self._alarm(
                one.sender,
                f"a node's pool holds {len(unknown)} transactions of {one.sender} that the books do not know (nonces "
                f"{unknown[0]} to {unknown[-1]}), and {one.filled} were filled in the last day: together more than "
                f"{_WIDEST_GAP}, none is filled. It pays nothing meanwhile",
            )
            return
        if await self._store.void(self._chain_id, one.sender, unknown[-1]):
            logger.warning(
                "nonces {} to {} of {} are held by a pool and in no book: they are filled, and one or the other lands",
                *(unknown[0], unknown[-1], one.sender),
            )

    def _alarm(self, sender: str, alarm: str) -> None:
        if sender not in self._alarms:
            logger.error("{}", alarm)
        self._alarms[sender] = alarm


def _hangs_on(content: BlockContent, parent_id: str) -> None:
    if content.parent_id != parent_id:
        raise LyingNode(
            f"final block {content.block.number} does not follow block {parent_id}: the nodes contradict each other, "
            "nothing is taken into the books"
        )
