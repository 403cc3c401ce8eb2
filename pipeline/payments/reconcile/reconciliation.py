"""Reconciles on-chain transactions of our own senders that are missing from the database (EVM): payments of a database
that lost its last commits, or the doing of somebody else who has the key.

A payer sees them first, by a count of the sender's transactions that is beyond what is recorded: it signs nothing and
says so. Here they are looked for, as nothing may be guessed:

    in final blocks            read backward from the newest, until each nonce has what used it: a payment like ours is
                               recorded; anything else, a delegation that the sender's key signed (EIP-7702) among it,
                               freezes the sender until an operator has looked
    in blocks not final        waited for
    in a mempool only          waited for a while; then their nonces are used by self-transfers, and one or the other
                               lands
    in no mempool any more     likewise waited for: nodes forget, and one of several at an address never knew

Only then does the sender pay again. The records of a sender that was never paid from here begin with what it has sent
lately. Whatever cannot be found out is said, with what to do; an operator may release the sender (``release_sender``),
and what no block explains counts as nothing of ours then.
"""

import asyncio
from collections.abc import Collection, Container, Sequence

from loguru import logger

from pipeline.blocks.cache import BlockCache
from pipeline.blocks.follower import BlockFollower, ReadBlock
from pipeline.chains.errors import ChainError
from pipeline.chains.provider import NonceCounts, NumberedProvider
from pipeline.chains.values import BlockRef
from pipeline.payments.blocked import Blocked
from pipeline.payments.nonces import Nonces
from pipeline.payments.reconcile.nonce_counts import node_that_denies
from pipeline.payments.reconcile.nonce_search import NonceSearch, Reach
from pipeline.payments.reconcile.store import ReconciliationStore, UnreconciledSender

_WIDEST_GAP = 100
"""Nonces of a sender a day. More in a mempool, that are not recorded, are a node's error or for people: filling each
costs coins."""
_MOST_MISSING = 10_000
"""Nonces. No database has lost more than that: a node counts wrong."""
_MOST_RELEASED = 1_000_000
"""Likewise, where an operator says that it is so."""
_LONGEST_SECONDS = 3600.0
"""After which people hear of it, whatever takes so long: blocks become final within 20 minutes on every chain we know,
and that is waited for twice where something is filled in between."""

_SENDERS_A_ROUND = 32
"""Reconciled in a round; the next one goes on with others."""
_SENDERS_AT_ONCE = 4
"""Each asks a handful of things of a node."""
_AUDITED_AT_ONCE = 4
"""Senders beside the one that pays gas: a constant cost, however many there are."""


class Reconciliation:
    """The senders of one chain that are being reconciled."""

    def __init__(
        self,
        chain_id: int,
        store: ReconciliationStore,
        provider: NumberedProvider,
        read: ReadBlock,
        lookback: int,
        patience_blocks: int,
    ) -> None:
        """``read`` gives final blocks. ``lookback`` of them are read for a sender that was never paid from here;
        ``patience_blocks`` pass before nonces that only a mempool holds are filled."""
        self._chain_id = chain_id
        self._store = store
        self._provider = provider
        self._cache = BlockCache(read)
        self._blocks = BlockFollower(self._cache.read)
        self._lookback = lookback
        self._patience = patience_blocks
        self._slots = asyncio.Semaphore(_SENDERS_AT_ONCE)
        self._last = ""
        """The last one of the round before, in the order of addresses; empty: all were."""
        self._searches: dict[str, NonceSearch] = {}
        self._pooled: dict[str, int] = {}
        """By sender, the final height at which only a mempool held what is not recorded."""
        self._vanished: dict[str, int] = {}
        """By sender, the final height since which no mempool shows what one has shown."""
        self._unseen: dict[str, tuple[int, int]] = {}
        """By sender that was reconciled: what a payer had seen of it and no node did here, and what was recorded."""
        self._audited = ""
        """The last one audited, in the order of addresses."""
        self._blocked: dict[str, Blocked] = {}
        """By sender, why nothing can be found out."""
        self._waits: dict[str, str] = {}
        """By sender, what it was waited for in the last round."""

    async def alarms(self) -> list[str]:
        """Senders that are frozen, and those of which nothing can be found out."""
        return [*await self._store.frozen(self._chain_id), *(one.reason for one in self._blocked.values())]

    def blocked(self) -> dict[str, Blocked]:
        """Senders of which nothing can be found out."""
        return dict(self._blocked)

    async def audit(self) -> None:
        """Compare a few senders that nobody pays from now: whoever else has a key of ours is to be seen before the
        sender pays again. Trouble with one hides none of the others. Raises psycopg.Error."""
        senders = await self._store.audited(self._chain_id, self._audited, _AUDITED_AT_ONCE)
        others = [sender for sender, pays_gas in senders if not pays_gas]
        self._audited = others[-1] if others else ""
        for sender in {sender for sender, _ in senders}:
            try:
                counted = await self._provider.sender_nonces(sender)
            except ChainError as trouble:
                logger.warning("the transactions of {} cannot be counted now: {}", sender, trouble)
                continue
            if await self._store.reconcile_if_behind(self._chain_id, sender, counted.seen):
                logger.error("{} has transactions that are not recorded in the database: reconciling it", sender)

    async def reconcile(self, read_up_to: BlockRef) -> int:
        """Go on with every sender once; how many are left. ``chain_cursors`` says that all final blocks up to
        ``read_up_to`` were read.

        Trouble with one sender delays none of the others. Raises psycopg.Error."""
        # For one round only: in the next one another node may give what this one has withheld.
        self._cache.clear()
        senders = await self._store.unreconciled(self._chain_id, self._last, _SENDERS_A_ROUND)
        all_of_them = len(senders) < _SENDERS_A_ROUND
        if all_of_them and not self._last:
            self._forget_but({one.sender for one in senders})
        self._last = "" if all_of_them else senders[-1].sender
        done = await asyncio.gather(*(self._try(one, read_up_to) for one in senders))
        return len(senders) - sum(done)

    def _forget_but(self, senders: set[str]) -> None:
        self._searches = {sender: search for sender, search in self._searches.items() if sender in senders}
        self._pooled = {sender: height for sender, height in self._pooled.items() if sender in senders}
        self._vanished = {sender: height for sender, height in self._vanished.items() if sender in senders}
        self._blocked = {sender: blocked for sender, blocked in self._blocked.items() if sender in senders}

    async def _try(self, one: UnreconciledSender, read_up_to: BlockRef) -> bool:
        async with self._slots:
            self._waits[one.sender] = "blocks are read"
            try:
                done = await self._reconcile(one, read_up_to)
            except ChainError as trouble:
                self._searches.pop(one.sender, None)
                self._waits[one.sender] = f"nodes do not answer: {trouble}"
                logger.warning("{} cannot be reconciled now: {}", one.sender, trouble)
                done = False
        waits = self._waits.pop(one.sender)
        if not done and one.sender not in self._blocked and one.seconds >= _LONGEST_SECONDS:
            self._block(
                one,
                f"{one.sender} has transactions that are not recorded in the database (below nonce "
                f"{one.unknown_below}), and reconciling it has not ended for an hour: {waits}. It pays nothing "
                "meanwhile. See that the processes and nodes of its chain work (flagpost doctor), "
                f"{_release(one)}",
            )
        return done

    async def _reconcile(self, one: UnreconciledSender, read_up_to: BlockRef) -> bool:
        """Whether all transactions of a sender are recorded."""
        counted = await self._provider.sender_nonces(one.sender)
        final = await self._provider.count_at(one.sender, read_up_to.number)
        if final is None:
            final = counted.finalized
        if one.next_nonce is None:
            if counted.latest == final or one.released:
                await self._introduce(one, final, read_up_to)
            else:
                self._waits[one.sender] = "it goes on sending transactions, and our records begin when none is pending"
            return False
        beyond = one.released.run_from(one.next_nonce).stop
        if final - beyond > _MOST_MISSING or final - one.next_nonce > _MOST_RELEASED:
            self._block(
                one,
                f"a node counts {final} final transactions of {one.sender}, and {one.next_nonce} are recorded: too "
                "many to be true. It pays nothing meanwhile. Compare with a block explorer, and give the chain another "
                f"node (FLAGPOST_NODES_…) if it is not so; if it is, {_release(one)}",
                Nonces.of(range(one.next_nonce, final)),
            )
            return False
        missing = {nonce for nonce in (*one.void, *range(one.next_nonce, final)) if nonce < final}
        if missing:
            if await self._search(one, missing, read_up_to):
                await self._record(one, missing, read_up_to)
            return False
        if counted.latest > one.next_nonce:
            self._waits[one.sender] = f"nonce {one.next_nonce} is used in a block that does not become final"
            return False
        return await self._finish(one, one.next_nonce, counted, read_up_to)

    async def _finish(
        self, one: UnreconciledSender, next_nonce: int, counted: NonceCounts, read_up_to: BlockRef
    ) -> bool:
        """Nothing is missing in blocks: wait for mempools, then let the sender pay again."""
        if counted.pending > next_nonce:
            self._vanished.pop(one.sender, None)
            await self._wait_for_mempool(one, range(next_nonce, counted.pending), read_up_to)
            return False
        if one.unknown_below > next_nonce and self._waits_for_vanished(one, next_nonce, read_up_to):
            return False
        if one.filling:
            self._waits[one.sender] = (
                "self-transfers are to use up nonces of it, which gas-topup or consolidation sign: see in their logs "
                "why they do not"
            )
            return False
        if not await self._store.reconciled(self._chain_id, one):
            return False
        if one.unknown_below > next_nonce:
            self._unseen[one.sender] = (one.unknown_below, next_nonce)
        else:
            self._unseen.pop(one.sender, None)
        self._pooled.pop(one.sender, None)
        self._vanished.pop(one.sender, None)
        self._blocked.pop(one.sender, None)
        logger.info("all transactions of {} are recorded in the database: it may pay again", one.sender)
        return True

    def _waits_for_vanished(self, one: UnreconciledSender, next_nonce: int, read_up_to: BlockRef) -> bool:
        """Whether blocks have to pass, because a payer was shown transactions that no node shows here."""
        if self._unseen.get(one.sender) == (one.unknown_below, next_nonce):
            self._block(
                one,
                f"payers are shown {one.unknown_below} transactions of {one.sender} again and again, and no node of "
                f"the confirmation worker shows more than {next_nonce}. It pays nothing until they agree: give both "
                "processes the same nodes",
            )
        since = self._vanished.setdefault(one.sender, read_up_to.number)
        if read_up_to.number - since >= self._patience:
            return False
        self._waits[one.sender] = f"blocks have to pass, as a payer was shown {one.unknown_below} transactions"
        return True

    async def _introduce(self, one: UnreconciledSender, final: int, read_up_to: BlockRef) -> None:
        """Begin the records of a sender that has sent transactions before. Those of the last blocks may be of a
        database that lost its commits, and are reconciled; older ones are not ours to explain."""
        sender, first = one.sender, final
        search = self._searches.get(sender)
        oldest = max(0, (read_up_to.number if search is None else search.began) - self._lookback)
        if not one.released and await self._provider.count_at(sender, oldest) != final:
            search = await self._extend(one, None, read_up_to, oldest)
            if search is None:
                return
            while first - 1 in search.found:
                first -= 1
        logger.info("{} sent {} transactions before our records of it, which begin with nonce {}", sender, first, first)
        await self._store.introduce(self._chain_id, sender, first)

    async def _search(self, one: UnreconciledSender, missing: set[int], read_up_to: BlockRef) -> bool:
        """Whether it is known of every one of these nonces what used it, or an operator has released it."""
        sender = one.sender
        lowest = await self._store.known_block(self._chain_id, sender, min(missing))
        search = await self._extend(one, missing, read_up_to, lowest)
        released = {nonce for nonce in missing if nonce in one.released}
        if search is None:
            if missing <= released and sender in self._blocked:
                logger.warning("{} was released: what no block shows of it counts as nothing of ours", sender)
                return True
            return False
        if search.found.keys() | released >= missing:
            return True
        self._searches.pop(sender)
        unexplained = Nonces.one_by_one(missing - search.found.keys())
        self._block(
            one,
            f"{sender} has used nonces {unexplained}, which are not recorded in the database, and the final "
            f"blocks from {lowest} on do not show by what: a node counts wrong, or gives blocks that cannot be read, "
            "or the sender's account is a contract's (EIP-7702), which used them itself. It pays nothing until that is "
            f"found out. Check {sender} in a block explorer: if its transactions there go beyond nonce "
            f"{max(missing)}, and none of them is ours, {_release(one)}",
            unexplained,
        )
        return False

    async def _extend(
        self, one: UnreconciledSender, wanted: set[int] | None, top: BlockRef, bottom: int
    ) -> NonceSearch | None:
        """Read on as far as one round goes. None: ``bottom`` was not reached, nor (if any are named) all that are
        wanted. Raises BlockConflict."""
        search = self._searches.get(one.sender)
        if search is None:
            search = await NonceSearch.begin(one.sender, top, self._blocks, self._provider)
            if search is None:
                return None
            self._searches[one.sender] = search
        reach = await search.extend(wanted, top, bottom, self._blocks, self._provider)
        if reach is Reach.MISSING_OLD:
            unexplained = None if wanted is None else Nonces.one_by_one(wanted)
            named = "" if unexplained is None else f" (nonces {unexplained})"
            self._block(
                one,
                f"{one.sender} has transactions that are not recorded in the database{named}, and no node gives final "
                f"block {search.lowest.block.number - 1}, where they may be: it pays nothing until one does. Give the "
                f"chain a node with all blocks; or check {one.sender} in a block explorer, and if none of it is "
                f"ours, {_release(one)}",
                unexplained,
            )
        elif reach is Reach.UNFINISHED and search.began - search.lowest.block.number > self._lookback:
            self._block(
                one,
                f"{one.sender} has transactions that are not recorded in the database: none of them is found in the "
                f"last {self._lookback} final blocks, and the search goes on. It pays nothing meanwhile",
            )
        return search if reach is Reach.DONE else None

    async def _record(self, one: UnreconciledSender, missing: Collection[int], read_up_to: BlockRef) -> None:
        """In the order of their nonces."""
        self._blocked.pop(one.sender, None)
        search = self._searches.pop(one.sender, None)
        found = {} if search is None else search.found
        for first, last in _runs(sorted(missing), found):
            if first in found:
                recorded = await self._store.record(self._chain_id, found[first], read_up_to)
                logger.critical("{}: {}", one.sender, recorded.said)
                continue
            if said := await node_that_denies(self._provider, one.sender, last):
                self._block(
                    one,
                    f"{said} final transactions of {one.sender}, another one {last + 1} or more: what an operator "
                    "released is not recorded until they agree. Take the wrong one out of the chain's nodes",
                    Nonces.of(range(first, last + 1)),
                )
                return
            lost = await self._store.lose_unexplained(self._chain_id, one.sender, first, last, read_up_to)
            logger.critical(
                "{}: {} nonces from {} to {} were used by what no block shows, and an operator has released it",
                *(one.sender, lost, first, last),
            )

    async def _wait_for_mempool(self, one: UnreconciledSender, pending: range, read_up_to: BlockRef) -> None:
        """Once enough blocks have passed, have the nonces that only a mempool holds used by self-transfers."""
        since = self._pooled.setdefault(one.sender, read_up_to.number)
        self._waits[one.sender] = f"a node's mempool holds nonces {pending[0]} to {pending[-1]}"
        if read_up_to.number - since < self._patience:
            return
        if one.filled + len(pending) > _WIDEST_GAP and pending[-1] not in one.released.run_from(pending[0]):
            self._block(
                one,
                f"a node's mempool holds {len(pending)} transactions of {one.sender} that are not recorded in the "
                f"database (nonces {pending[0]} to {pending[-1]}), and {one.filled} were filled in the last day: "
                f"together more than {_WIDEST_GAP}, none is filled. It pays nothing meanwhile. Find out who sends "
                f"them; to have each filled by a self-transfer, {_release(one)}",
                Nonces.of(pending),
            )
            return
        if await self._store.void(self._chain_id, one.sender, pending[-1]):
            self._blocked.pop(one.sender, None)
            logger.warning(
                "unrecorded nonces {} to {} of {} are pending in a mempool: self-transfers replace them, and one or "
                "the other lands",
                *(pending[0], pending[-1], one.sender),
            )

    def _block(self, one: UnreconciledSender, reason: str, unexplained: Nonces | None = None) -> None:
        if one.sender not in self._blocked:
            logger.error("{}", reason)
        self._blocked[one.sender] = Blocked(reason, unexplained)


def _runs(nonces: Sequence[int], found: Container[int]) -> list[tuple[int, int]]:
    """First and last of each run of nonces without explanation; each of the others alone. In order."""
    runs: list[tuple[int, int]] = []
    for nonce in nonces:
        if runs and runs[-1][1] == nonce - 1 and nonce not in found and nonce - 1 not in found:
            runs[-1] = (runs[-1][0], nonce)
        else:
            runs.append((nonce, nonce))
    return runs


def _release(one: UnreconciledSender) -> str:
    """The end of a sentence."""
    return f"release it: flagpost senders release {one.chain} {one.sender}"
