"""The nonce queue of each sender (EVM): which payments wait, and what for.

The transactions of a sender are numbered, and each waits for the one before it. So it is the first in the queue that is
checked, once a block has passed without it:

    its nonce is used in a final block         something else used it, or ours was missed: superseded.py finds out which
    lower nonces are missing on the chain      self-transfers are to fill them; if they stay missing, people are told
    it is next, and not taken for N blocks     a replacement is requested
    its max fee is below the next base fee     likewise, and at once; for every payment in the queue
    it is in no block all the same             people are told why; nothing new of its sender is signed behind it

A replacement takes a signature, and so is requested in its row (payments/send/replacements.py). Nothing is guessed from
a node's mempool. Counts of blocks are kept in this process only: a restart waits once more.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from loguru import logger

from pipeline.chains.errors import UndecodableTransaction
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BlockRef
from pipeline.payments.blocked import Blocked
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.attempts import PaymentAttempts, by_payment, describe_transfer, name_of, nonce_of
from pipeline.payments.settle.store import FirstInQueue, SettlementStore

_PATIENCE_BLOCKS = 1
"""Blocks that pass before anything is asked about a payment: most are in the next one."""
_GAP_BLOCKS = 50
"""Blocks that pass before missing nonces are for people: all are recorded, so they are being filled."""
_AT_ONCE = 8
"""Node calls under way at once."""


@dataclass(frozen=True, slots=True)
class _First:
    """Which attempt is first in a queue, and since which height."""

    attempt: int
    height: int


def longest_first_in_queue(replace_after_blocks: int, block_seconds: float) -> float:
    """Seconds for which a payment may be first in its queue and in no block: by then five replacements were requested.
    docs/operating.md, sql/queries/doctor/senders.sql and sql/queries/payments/send/wanted.sql say the same."""
    return max(300.0, 5 * replace_after_blocks * block_seconds)


class NonceQueues:
    """Of all senders of one chain."""

    def __init__(
        self, store: SettlementStore, provider: NumberedProvider, replace_after_blocks: int, block_seconds: float
    ) -> None:
        self._store = store
        self._provider = provider
        self._replace_after = replace_after_blocks
        self._longest = timedelta(seconds=longest_first_in_queue(replace_after_blocks, block_seconds))
        self._firsts: dict[str, _First] = {}
        self._asked: dict[int, int] = {}
        """Height at which a replacement of an attempt was asked for last."""
        self._blocked: dict[str, Blocked] = {}
        """By sender, why its queue does not move."""
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def alarms(self) -> list[str]:
        """Queues that do not move."""
        return [one.reason for one in self._blocked.values()]

    def blocked(self) -> dict[str, Blocked]:
        """By sender, why its queue does not move."""
        return dict(self._blocked)

    def clear(self) -> None:
        """Nothing is out."""
        self._firsts.clear()
        self._asked.clear()
        self._blocked.clear()

    async def check(
        self, head: BlockRef, live: Sequence[LiveAttempt], waiting: Sequence[LiveAttempt]
    ) -> list[PaymentAttempts]:
        """Request what is needed to move the queues on; the payments whose nonce is used in a final block.

        ``waiting`` are the attempts that are in no block now. Raises what the provider raises, psycopg.Error."""
        in_no_block = {attempt.id for attempt in waiting}
        queues: dict[str, list[PaymentAttempts]] = {}
        for payment in by_payment(live):
            if all(attempt.id in in_no_block for attempt in payment):
                queues.setdefault(payment[0].signed.sender, []).append(payment)
        self._firsts = {sender: first for sender, first in self._firsts.items() if sender in queues}
        self._blocked = {sender: stuck for sender, stuck in self._blocked.items() if sender in queues}
        self._asked = {attempt: height for attempt, height in self._asked.items() if attempt in in_no_block}
        checked = await asyncio.gather(*(self._check(head, *queue) for queue in queues.items()))
        return [payment for past in checked for payment in past]

    async def _check(self, head: BlockRef, sender: str, payments: Sequence[PaymentAttempts]) -> list[PaymentAttempts]:
        queue = sorted(payments, key=lambda payment: nonce_of(payment[0]))
        first = queue[0]
        known = self._firsts.get(sender)
        if known is None or known.attempt != first[-1].id or head.number < known.height:
            known = self._firsts[sender] = _First(first[-1].id, head.number)
        waited = head.number - known.height
        if waited < _PATIENCE_BLOCKS:
            return []
        async with self._slots:
            counted = await self._provider.sender_nonces(sender)
        past = [payment for payment in queue if nonce_of(payment[0]) < counted.finalized]
        nonce = nonce_of(first[0])
        if past or nonce < counted.latest:
            # In a block that is final, or that this node has and the other one had not.
            self._blocked.pop(sender, None)
            return past
        if counted.latest < nonce:
            if waited >= _GAP_BLOCKS:
                self._block(
                    sender,
                    f"nonces {counted.latest} to {nonce - 1} of {sender} are missing on the chain, and payments behind "
                    "them wait: a node counts wrong, or its coins do not pay for filling them. Give the chain another "
                    f"node (FLAGPOST_NODES_…), see that {sender} holds coins; sql/inspect/nonces.sql shows its queue",
                )
            return []
        await self._request_replacements(queue, head.number, is_next=counted.latest == nonce, waited=waited)
        await self._tell_if_blocked(head, sender, first)
        return []

    async def _tell_if_blocked(self, head: BlockRef, sender: str, first: PaymentAttempts) -> None:
        """Say so of a payment that no block has taken for too long, whatever is the reason. By the chain's clock: where
        it makes no blocks, nothing is due."""
        sent_at = first[0].first_broadcast_at
        if sent_at is None or head.timestamp - sent_at < self._longest:
            self._blocked.pop(sender, None)
            return
        found = await self._store.first_in_queue(first[0].transfers[0].id)
        if found is None or head.timestamp - found.since < self._longest:
            self._blocked.pop(sender, None)
            return
        self._block(sender, _why_blocked(sender, first, found))

    def _block(self, sender: str, reason: str) -> None:
        if sender not in self._blocked:
            logger.error("{}", reason)
        self._blocked[sender] = Blocked(reason)

    async def _request_replacements(
        self, queue: Sequence[PaymentAttempts], height: int, *, is_next: bool, waited: int
    ) -> None:
        stuck = [payment[-1] for payment in queue if await self._is_outpriced(payment[-1])]
        if is_next and waited >= self._replace_after and queue[0][-1] not in stuck:
            stuck.append(queue[0][-1])
        # Where there could be no replacement (the cap, an empty wallet) it is asked for again, but not at every block.
        stuck = [one for one in stuck if height - self._asked.get(one.id, -self._replace_after) >= self._replace_after]
        if not stuck:
            return
        self._asked |= {one.id: height for one in stuck}
        for transfer_id in await self._store.request_replacement(
            [transfer.id for one in stuck for transfer in one.transfers]
        ):
            logger.info("transfer {} is in no block after {} blocks: a replacement is requested", transfer_id, waited)

    async def _is_outpriced(self, attempt: LiveAttempt) -> bool:
        try:
            return await self._provider.outpriced(attempt.signed)
        except UndecodableTransaction as nonsense:
            # Nobody signed it, whoever wrote it. It keeps its own payment waiting, and none of the others.
            logger.error("the bytes of tx {}, {}: {}", attempt.signed.txid, name_of(attempt), nonsense)
            return False


def _why_blocked(sender: str, first: PaymentAttempts, found: FirstInQueue) -> str:
    newest = first[-1]
    said = [
        f"{name_of(newest)} ({', '.join(map(describe_transfer, newest.transfers))}; nonce {newest.signed.nonce} of "
        f"{sender}) is first in its nonce queue and in no block since {found.since:%Y-%m-%d %H:%M:%S} UTC; newest tx "
        f"{newest.signed.txid}",
        "Nothing new of its sender is signed behind it",
    ]
    if found.replace_wanted_at is not None:
        said.append("A replacement is requested, and not signed yet: see the logs of gas-topup, consolidation")
    if found.error_message:
        said.append(f"It was not replaced: {found.error_message}")
    if found.last_result:
        said.append(f"A node says: {found.last_result}")
    said.append(
        "Raise fees.replacement_cap or fee_max where they are named, send coins to its sender where it lacks them, "
        "give the chain another node where one refuses it; it goes on by itself then"
    )
    return ". ".join(said)
