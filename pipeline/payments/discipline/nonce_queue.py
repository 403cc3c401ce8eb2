"""Payments that wait in the line of their sender (EVM): which are stuck, and why.

The transactions of a sender are numbered, and each waits for the one before it. So it is the first in the line that is
looked at, once a block has passed without it:

    its nonce is used in a final block       somebody else used it, or ours was missed: burial.py finds out which
    lower nonces are missing on the chain    gaps are to fill them (upkeep.py); if they stay missing, people are told
    it is next, and not taken for N blocks   it is to be offered again for more
    the next block is too dear for it        likewise, and at once; for every payment in the line
    it is in no block all the same           people are told why; nothing new of its sender is signed behind it

What is to be done takes a signature, and so is written down for those who have the keys (upkeep.py). Nothing is guessed
from a node's pool. Counts of blocks are kept in this process only: a restart waits once more.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from loguru import logger

from pipeline.chains.errors import UndecodableTransaction
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BlockRef
from pipeline.payments.intents import LiveAttempt
from pipeline.payments.settle.store import FirstInLine, SettlementStore
from pipeline.payments.settle.stuck import Stuck, longest_in_line
from pipeline.units import to_human

_PATIENCE_BLOCKS = 1
"""Blocks that pass before anything is asked about a payment: most are in the next one."""
_GAP_BLOCKS = 50
"""Blocks that pass before missing nonces are for people: the books have every one, so they are being filled."""
_AT_ONCE = 8
"""Node calls under way at once."""


@dataclass(frozen=True, slots=True)
class _First:
    """Who was first in a line, in which attempt, and since which height."""

    attempt: int
    height: int


Payments = Sequence[LiveAttempt]
"""All live attempts of one payment, oldest first."""


class Line:
    """The lines of all senders of one chain."""

    def __init__(
        self, store: SettlementStore, provider: NumberedProvider, replace_after_blocks: int, block_seconds: float
    ) -> None:
        self._store = store
        self._provider = provider
        self._replace_after = replace_after_blocks
        self._longest = timedelta(seconds=longest_in_line(replace_after_blocks, block_seconds))
        self._firsts: dict[str, _First] = {}
        self._asked: dict[int, int] = {}
        """Height at which a replacement of an attempt was asked for last."""
        self._stuck: dict[str, Stuck] = {}
        """By sender, why its line does not move."""
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def alarms(self) -> list[str]:
        """Lines that stand still."""
        return [one.reason for one in self._stuck.values()]

    def stuck(self) -> dict[str, Stuck]:
        """By sender, why its line stands still."""
        return dict(self._stuck)

    def is_empty(self) -> None:
        """Nothing is out."""
        self._firsts.clear()
        self._asked.clear()
        self._stuck.clear()

    async def look(self, head: BlockRef, live: Sequence[LiveAttempt], waiting: Sequence[LiveAttempt]) -> list[Payments]:
        """Have done what is needed to move the lines on; the payments whose fate has to be looked up.

        ``waiting`` are the attempts that are in no block now. Raises what the provider raises, psycopg.Error."""
        in_no_block = {attempt.id for attempt in waiting}
        lines: dict[str, list[Payments]] = {}
        for payment in payments_of(live):
            if all(attempt.id in in_no_block for attempt in payment):
                lines.setdefault(payment[0].signed.sender, []).append(payment)
        self._firsts = {sender: first for sender, first in self._firsts.items() if sender in lines}
        self._stuck = {sender: stuck for sender, stuck in self._stuck.items() if sender in lines}
        self._asked = {attempt: height for attempt, height in self._asked.items() if attempt in in_no_block}
        looked_at = await asyncio.gather(*(self._look_at(head, *line) for line in lines.items()))
        return [payment for past in looked_at for payment in past]

    async def _look_at(self, head: BlockRef, sender: str, payments: Sequence[Payments]) -> list[Payments]:
        line = sorted(payments, key=lambda payment: _nonce(payment[0]))
        first = line[0]
        known = self._firsts.get(sender)
        if known is None or known.attempt != first[-1].id or head.number < known.height:
            known = self._firsts[sender] = _First(first[-1].id, head.number)
        waited = head.number - known.height
        if waited < _PATIENCE_BLOCKS:
            return []
        async with self._slots:
            counted = await self._provider.sender_nonces(sender)
        past = [payment for payment in line if _nonce(payment[0]) < counted.finalized]
        nonce = _nonce(first[0])
        if past or nonce < counted.latest:
            # In a block that is final, or that this node has and the other one had not.
            self._stuck.pop(sender, None)
            return past
        if counted.latest < nonce:
            if waited >= _GAP_BLOCKS:
                self._say(
                    sender,
                    f"nonces {counted.latest} to {nonce - 1} of {sender} are missing on the chain, and payments behind "
                    "them wait: a node counts wrong, or its coins do not pay for filling them. Give the chain another "
                    f"node (FLAGPOST_NODES_…), see that {sender} holds coins; sql/inspect/nonces.sql shows its line",
                )
            return []
        await self._raise_offers(line, head.number, is_next=counted.latest == nonce, waited=waited)
        await self._tell_if_stuck(head, sender, first)
        return []

    async def _tell_if_stuck(self, head: BlockRef, sender: str, first: Payments) -> None:
        """Say so of a payment that no block has taken for too long, whatever is the reason. By the chain's clock: where
        it makes no blocks, nothing is due."""
        sent_at = first[0].first_broadcast_at
        if sent_at is None or head.timestamp - sent_at < self._longest:
            self._stuck.pop(sender, None)
            return
        found = await self._store.first_in_line(first[0].transfer_id)
        if found is None or head.timestamp - found.since < self._longest:
            self._stuck.pop(sender, None)
            return
        self._say(sender, _why_stuck(sender, first, found))

    def _say(self, sender: str, reason: str) -> None:
        if sender not in self._stuck:
            logger.error("{}", reason)
        self._stuck[sender] = Stuck(reason)

    async def _raise_offers(self, line: Sequence[Payments], height: int, *, is_next: bool, waited: int) -> None:
        stuck = [payment[-1] for payment in line if await self._is_outpriced(payment[-1])]
        if is_next and waited >= self._replace_after and line[0][-1] not in stuck:
            stuck.append(line[0][-1])
        # Where there could be no replacement (the cap, an empty wallet) it is asked for again, but not at every block.
        stuck = [one for one in stuck if height - self._asked.get(one.id, -self._replace_after) >= self._replace_after]
        if not stuck:
            return
        self._asked |= {one.id: height for one in stuck}
        for transfer_id in await self._store.want_replacement([one.transfer_id for one in stuck]):
            logger.info("transfer {} is stuck after {} blocks: it is to be offered again for more", transfer_id, waited)

    async def _is_outpriced(self, attempt: LiveAttempt) -> bool:
        try:
            return await self._provider.outpriced(attempt.signed)
        except UndecodableTransaction as nonsense:
            # Nobody signed it, whoever wrote it. It keeps its own payment waiting, and none of the others.
            logger.error("the bytes of tx {}, transfer {}: {}", attempt.signed.txid, attempt.transfer_id, nonsense)
            return False


def _why_stuck(sender: str, first: Payments, found: FirstInLine) -> str:
    newest = first[-1]
    asset = newest.payment.asset
    said = [
        f"transfer {newest.transfer_id} ({newest.kind} {newest.wallet}, "
        f"{to_human(newest.payment.amount, asset.decimals)} {asset.symbol}, nonce {newest.signed.nonce} of {sender}) "
        f"is first in its line and in no block since {found.since:%Y-%m-%d %H:%M:%S} UTC; newest tx "
        f"{newest.signed.txid}",
        "Nothing new of its sender is signed behind it",
    ]
    if found.replace_wanted_at is not None:
        said.append("It is to be offered again for more, and nobody signed that yet: see gas-topup, consolidation")
    if found.error_message:
        said.append(f"It was not offered again: {found.error_message}")
    if found.last_result:
        said.append(f"A node says: {found.last_result}")
    said.append(
        "Raise fees.replacement_cap or fee_max where they are named, send coins to its sender where it lacks them, "
        "give the chain another node where one refuses it; it goes on by itself then"
    )
    return ". ".join(said)


def payments_of(attempts: Sequence[LiveAttempt]) -> list[Payments]:
    """Attempts by payment, oldest first."""
    grouped: dict[int, list[LiveAttempt]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.id):
        grouped.setdefault(attempt.transfer_id, []).append(attempt)
    return list(grouped.values())


def _nonce(attempt: LiveAttempt) -> int:
    assert attempt.signed.nonce is not None  # noqa: S101 - check of triggers/money_enters.sql on these chains
    return attempt.signed.nonce
