"""Transactions of our own senders that are in no book (EVM): payments of a database that lost its last commits, or the
doing of somebody else who has the key.

Whoever pays sees them first, by a count of the sender's transactions that is beyond what the books know: it signs
nothing and says so. Here they are looked for, as nothing may be guessed:

    in final blocks          read backwards from the newest, until each nonce has what used it: a payment like ours is
                             taken into the books; anything else, a delegation that the sender's key signed (EIP-7702)
                             among it, holds the sender until a person has looked
    in blocks not final      waited for
    in a node's pool only    waited for a while; then their nonces are filled, and one or the other lands
    in no pool any more      likewise waited for: nodes forget, and one of several at an address never knew

Only then does the sender pay again. A sender that was never paid from here begins with what it has done lately; what is
older was before our books of it. Whatever cannot be found out is said, with what to do; a person may release the sender
(``release_sender``), and what no block explains counts as nothing of ours then.
"""

import asyncio
from collections.abc import Collection, Container, Sequence

from loguru import logger

from pipeline.blocks.search import ReadBlock
from pipeline.chains.errors import ChainError, InconsistentNode
from pipeline.chains.provider import NonceCounts, NumberedProvider
from pipeline.chains.values import BlockContent, BlockRef
from pipeline.payments.reconcile.nonce_uses import NonceSearch, uses_in
from pipeline.payments.reconcile.store import Doubted, StrangerStore
from pipeline.payments.settle.lookup import denied
from pipeline.payments.settle.stuck import Nonces, Stuck

_WIDEST_GAP = 100
"""Nonces of a sender a day. More in a pool, that nobody here knows, are a node's nonsense or for people: filling each
costs coins."""
_MOST_UNKNOWN = 10_000
"""Nonces. More than that nobody has forgotten: a node talks nonsense."""
_MOST_RELEASED = 1_000_000
"""Likewise, where a person says that it is so."""
_AT_ONCE = 8
"""Blocks read at once."""
_BLOCKS_A_ROUND = 64
"""Read backwards for one sender; the next round goes on, so that a long search keeps no other payment waiting."""
_LONGEST_LOOK_SECONDS = 3600.0
"""After which people hear of it, whatever takes so long: blocks become final within 20 minutes on every chain we know,
and that is waited for twice where something is filled in between."""


_SENDERS_A_ROUND = 32
"""In doubt, and looked into; the next round goes on with others."""
_SENDERS_AT_ONCE = 4
"""Each asks a handful of things of a node."""
_AUDITED_AT_ONCE = 4
"""Senders beside the one that pays gas: a constant cost, however many there are."""


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
        self._searches: dict[str, NonceSearch] = {}
        self._pooled: dict[str, int] = {}
        """By sender, the final height at which only a pool held what is unknown."""
        self._vanished: dict[str, int] = {}
        """By sender, the final height since which no pool shows what one has shown."""
        self._unseen: dict[str, tuple[int, int]] = {}
        """By sender that was trusted, what somebody had seen of it and no node did here, and what the books knew."""
        self._audited = ""
        """The last one audited, in the order of addresses."""
        self._stuck: dict[str, Stuck] = {}
        """By sender, why nothing can be found out."""
        self._waits: dict[str, str] = {}
        """By sender, what it was waited for in the last round."""

    async def alarms(self) -> list[str]:
        """Senders that are held, and those of which nothing can be found out."""
        return [*await self._store.held(self._chain_id), *(one.reason for one in self._stuck.values())]

    def stuck(self) -> dict[str, Stuck]:
        """Senders of which nothing can be found out."""
        return dict(self._stuck)

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
            self._stuck = {sender: stuck for sender, stuck in self._stuck.items() if sender in senders}
        self._doubted = "" if all_of_them else doubted[-1].sender
        resolved = await asyncio.gather(*(self._try_to_resolve(one, read_up_to) for one in doubted))
        return len(doubted) - sum(resolved)

    async def _try_to_resolve(self, one: Doubted, read_up_to: BlockRef) -> bool:
        async with self._slots:
            self._waits[one.sender] = "blocks are read"
            try:
                resolved = await self._look_into(one, read_up_to)
            except ChainError as trouble:
                self._searches.pop(one.sender, None)
                self._waits[one.sender] = f"nodes do not answer it: {trouble}"
                logger.warning("transactions of {} cannot be looked for now: {}", one.sender, trouble)
                resolved = False
        waits = self._waits.pop(one.sender)
        if not resolved and one.sender not in self._stuck and one.looked_for >= _LONGEST_LOOK_SECONDS:
            self._say(
                one,
                f"{one.sender} has made transactions that the books do not know (below nonce {one.unknown_below}), and "
                f"looking into them has not ended for an hour: {waits}. It pays nothing meanwhile. See that the "
                f"processes and nodes of its chain work (flagpost doctor), {_release(one)}",
            )
        return resolved

    async def _look_into(self, one: Doubted, read_up_to: BlockRef) -> bool:
        """Whether nothing is unknown of a sender any more."""
        counted = await self._provider.sender_nonces(one.sender)
        final = await self._provider.count_at(one.sender, read_up_to.number)
        if final is None:
            final = counted.finalized
        if one.next_nonce is None:
            if counted.latest == final or one.released:
                await self._introduce(one, final, read_up_to)
            else:
                self._waits[one.sender] = "it goes on making transactions, and none of them may be open when we begin"
            return False
        beyond = one.released.run_from(one.next_nonce).stop
        if final - beyond > _MOST_UNKNOWN or final - one.next_nonce > _MOST_RELEASED:
            self._say(
                one,
                f"a node counts {final} final transactions of {one.sender}, and the books know {one.next_nonce}: too "
                "many to be true. It pays nothing meanwhile. Compare with a block explorer, and give the chain another "
                f"node (FLAGPOST_NODES_…) if it is not so; if it is, {_release(one)}",
                Nonces.of(range(one.next_nonce, final)),
            )
            return False
        missing = {nonce for nonce in (*one.void, *range(one.next_nonce, final)) if nonce < final}
        if missing:
            if await self._search(one, missing, read_up_to):
                await self._account_for(one, missing, read_up_to)
            return False
        if counted.latest > one.next_nonce:
            self._waits[one.sender] = f"nonce {one.next_nonce} is used in a block that does not become final"
            return False
        if counted.pending > one.next_nonce:
            self._vanished.pop(one.sender, None)
            await self._wait_for_the_pool(one, counted, read_up_to)
            return False
        if one.unknown_below > one.next_nonce:
            if self._unseen.get(one.sender) == (one.unknown_below, one.next_nonce):
                self._say(
                    one,
                    f"who pays is shown {one.unknown_below} transactions of {one.sender} again and again, and "
                    f"no node of the confirmation worker shows more than {one.next_nonce}. It pays nothing until they "
                    "agree: give both processes the same nodes",
                )
            since = self._vanished.setdefault(one.sender, read_up_to.number)
            if read_up_to.number - since < self._patience:
                self._waits[one.sender] = f"blocks have to pass, as somebody was shown {one.unknown_below} transactions"
                return False
        if one.filling:
            self._waits[one.sender] = (
                "nonces of it are to be filled by payments to itself, which gas-topup or consolidation sign: see why "
                "they do not in their logs"
            )
            return False
        if not await self._store.trust(self._chain_id, one):
            return False
        if one.unknown_below > one.next_nonce:
            self._unseen[one.sender] = (one.unknown_below, one.next_nonce)
        else:
            self._unseen.pop(one.sender, None)
        self._pooled.pop(one.sender, None)
        self._vanished.pop(one.sender, None)
        self._stuck.pop(one.sender, None)
        logger.info("all transactions of {} are in the books: it may pay again", one.sender)
        return True

    async def _introduce(self, one: Doubted, final: int, read_up_to: BlockRef) -> None:
        """Begin the books of a sender that has made transactions before. Those of the last blocks may be of a database
        that lost its commits, and are looked at; older ones are not ours to explain."""
        sender, first = one.sender, final
        search = self._searches.get(sender)
        oldest = max(0, (read_up_to.number if search is None else search.began) - self._look_back)
        if not one.released and await self._provider.count_at(sender, oldest) != final:
            search = await self._extend(one, None, read_up_to, oldest)
            if search is None:
                return
            while first - 1 in search.found:
                first -= 1
        logger.info("{} made {} transactions before our books of it, which begin with nonce {}", sender, first, first)
        await self._store.introduce(self._chain_id, sender, first)

    async def _search(self, one: Doubted, missing: set[int], read_up_to: BlockRef) -> bool:
        """Whether it is known of every one of these nonces what used it, or a person has vouched for it."""
        sender = one.sender
        lowest = await self._store.known_block(self._chain_id, sender, min(missing))
        search = await self._extend(one, missing, read_up_to, lowest)
        vouched = {nonce for nonce in missing if nonce in one.released}
        if search is None:
            if missing <= vouched and sender in self._stuck:
                logger.warning("{} was released: what no block shows of it is taken for nothing of ours", sender)
                return True
            return False
        if search.found.keys() | vouched >= missing:
            return True
        self._searches.pop(sender)
        unexplained = Nonces.one_by_one(missing - search.found.keys())
        self._say(
            one,
            f"{sender} has used nonces {unexplained}, which the books do not know, and the final "
            f"blocks from {lowest} on do not show by what: a node counts wrong, or gives blocks that cannot be read, "
            "or the sender's account is a contract's (EIP-7702), which used them itself. It pays nothing until that is "
            f"found out. Look at {sender} in a block explorer: if its transactions there go beyond nonce "
            f"{max(missing)}, and none of them is ours, {_release(one)}",
            unexplained,
        )
        return False

    async def _extend(self, one: Doubted, wanted: set[int] | None, top: BlockRef, bottom: int) -> NonceSearch | None:
        """Read on, first up to ``top`` and then down to ``bottom``, as far as one round goes. None: ``bottom`` was not
        reached, nor (if any are named) all that are wanted. Raises InconsistentNode where the blocks do not hang
        together."""
        sender = one.sender
        search = self._searches.get(sender)
        if search is None:
            newest = await self._read(top.number)
            if newest is None:
                return None
            if newest.block.id != top.id:
                raise InconsistentNode(
                    f"final block {top.number} is {newest.block.id}, and {top.id} was booked as read"
                )
            search = self._searches[sender] = NonceSearch(top.number, top, newest)
            await self._note(search, sender, newest)
        while search.highest.number < top.number:
            above = await self._read(search.highest.number + 1)
            if above is None:
                return None
            _hangs_on(above, search.highest.id)
            search.highest = above.block
            await self._note(search, sender, above)
        for _ in range(_BLOCKS_A_ROUND // _AT_ONCE):
            height = search.lowest.block.number
            if height <= bottom or (wanted is not None and search.shows(wanted, bottom)):
                return search
            for below in await asyncio.gather(
                *map(self._read, range(height - 1, max(bottom, height - _AT_ONCE) - 1, -1))
            ):
                if below is None:
                    unexplained = None if wanted is None else Nonces.one_by_one(wanted)
                    named = "" if unexplained is None else f" (nonces {unexplained})"
                    self._say(
                        one,
                        f"{sender} has made transactions that the books do not know{named}, and no node gives final "
                        f"block {search.lowest.block.number - 1}, where they may be: it pays nothing until one does. "
                        f"Give the chain a node with all blocks; or look at {sender} in a block explorer, and if none "
                        f"of it is ours, {_release(one)}",
                        unexplained,
                    )
                    return None
                _hangs_on(search.lowest, below.block.id)
                search.lowest = below
                await self._note(search, sender, below)
        if search.began - search.lowest.block.number > self._look_back:
            self._say(
                one,
                f"{sender} has made transactions that the books do not know: none of them is found in the last "
                f"{self._look_back} final blocks, and the search goes on. It pays nothing meanwhile",
            )
        return search if search.lowest.block.number <= bottom else None

    async def _note(self, search: NonceSearch, sender: str, content: BlockContent) -> None:
        """What a block shows of the sender's nonces. A delegation counts if the nonce that it names was used in its
        block; where no node has a state so old, as long as nothing else shows."""
        for use in uses_in(content, sender):
            if use.delegate is None:
                search.note(use, sure=True)
                continue
            before = await self._provider.count_at(sender, content.block.number - 1)
            later = await self._provider.count_at(sender, content.block.number)
            if before is None or later is None:
                search.note(use, sure=False)
            elif before <= use.nonce < later:
                search.note(use, sure=True)

    async def _account_for(self, one: Doubted, missing: Collection[int], read_up_to: BlockRef) -> None:
        """Take them into the books in the order of their nonces."""
        self._stuck.pop(one.sender, None)
        search = self._searches.pop(one.sender, None)
        found = {} if search is None else search.found
        for first, last in _runs(sorted(missing), found):
            if first not in found:
                if who := await denied(self._provider, one.sender, last):
                    self._say(
                        one,
                        f"{who} final transactions of {one.sender}, another one {last + 1} or more: what a person "
                        "vouched for is not booked until they agree. Take the wrong one out of the chain's nodes",
                        Nonces.of(range(first, last + 1)),
                    )
                    return
                lost = await self._store.lose_unexplained(self._chain_id, one.sender, first, last, read_up_to)
                said = "{}: {} nonces from {} to {} were used by what no block shows, and a person has released it"
                logger.critical(said, one.sender, lost, first, last)
                continue
            accounted = await self._store.account_for(self._chain_id, found[first], read_up_to)
            logger.critical("{}: {}", one.sender, accounted.said)

    async def _wait_for_the_pool(self, one: Doubted, counted: NonceCounts, read_up_to: BlockRef) -> None:
        since = self._pooled.setdefault(one.sender, read_up_to.number)
        unknown = range(one.next_nonce or 0, counted.pending)
        self._waits[one.sender] = f"a node's pool holds nonces {unknown[0]} to {unknown[-1]}"
        if read_up_to.number - since < self._patience:
            return
        if one.filled + len(unknown) > _WIDEST_GAP and unknown[-1] not in one.released.run_from(unknown[0]):
            self._say(
                one,
                f"a node's pool holds {len(unknown)} transactions of {one.sender} that the books do not know (nonces "
                f"{unknown[0]} to {unknown[-1]}), and {one.filled} were filled in the last day: together more than "
                f"{_WIDEST_GAP}, none is filled. It pays nothing meanwhile. Find out who sends them; to have each "
                f"filled by a payment of its sender to itself, {_release(one)}",
                Nonces.of(unknown),
            )
            return
        if await self._store.void(self._chain_id, one.sender, unknown[-1]):
            self._stuck.pop(one.sender, None)
            logger.warning(
                "nonces {} to {} of {} are held by a pool and in no book: they are filled, and one or the other lands",
                *(unknown[0], unknown[-1], one.sender),
            )

    def _say(self, one: Doubted, reason: str, unexplained: Nonces | None = None) -> None:
        if one.sender not in self._stuck:
            logger.error("{}", reason)
        self._stuck[one.sender] = Stuck(reason, unexplained)


def _runs(nonces: Sequence[int], found: Container[int]) -> list[tuple[int, int]]:
    """First and last of each run of nonces without explanation; each of the others alone. In order."""
    runs: list[tuple[int, int]] = []
    for nonce in nonces:
        if runs and runs[-1][1] == nonce - 1 and nonce not in found and nonce - 1 not in found:
            runs[-1] = (runs[-1][0], nonce)
        else:
            runs.append((nonce, nonce))
    return runs


def _hangs_on(content: BlockContent, parent_id: str) -> None:
    if content.parent_id != parent_id:
        raise InconsistentNode(
            f"final block {content.block.number} does not follow block {parent_id}: the nodes contradict each other, "
            "nothing is taken into the books"
        )


def _release(one: Doubted) -> str:
    """The end of a sentence."""
    return f"release it: SELECT release_sender('{one.chain}', '{one.sender}')"
