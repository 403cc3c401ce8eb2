"""Proof that payments are in no final block: every block that could hold them was read, each the parent of the next.

A node that says "no such transaction" proves nothing: its index may lag, be pruned or be switched off, and several
nodes may answer at one address. A block that is missing is seen to be missing, so that a node that lags buries nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from pipeline.chains.errors import InconsistentNode
from pipeline.chains.values import BlockContent, BlockRef, TransactionResult
from pipeline.payments.intents import LiveAttempt
from pipeline.payments.reconcile.nonce_uses import NonceUse, uses_in

ReadBlock = Callable[[int], Awaitable[BlockContent | None]]

_AT_ONCE = 8
"""Blocks read at once."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """By attempt id. An attempt that is in none of these is not proved: its blocks could not be read to the end."""

    found: dict[int, TransactionResult] = field(default_factory=dict)
    absent: dict[int, BlockRef] = field(default_factory=dict)
    """The last block that could have held it, when it is in none of them."""
    listed: dict[int, BlockRef] = field(default_factory=dict)
    """The block that holds it, where how it ended could not be read: it is there, whatever nodes say by its id."""
    user: NonceUse | None = None
    """EVM: who else used their nonce. It may have done the very same: then the payment happened."""
    complete: bool = False
    """EVM: whether all that is in the blocks that could hold them was read; without ``user`` they do not show it."""


async def search(attempts: Sequence[LiveAttempt], read: ReadBlock) -> Evidence:
    """Look for attempts in the only blocks that can hold them: after the block each refers to (TAPOS), up to the first
    one at or past its expiration. ``read`` gives final blocks, None for one that the node does not have.

    Attempts of about the same time share their blocks. Those without reference or expiration are left out. Raises
    InconsistentNode where a final block does not follow the one before, and what ``read`` raises.
    """
    evidence = Evidence()
    later = sorted((one for one in attempts if _window(one) is not None), key=lambda one: _window(one) or 0)
    opened: dict[str, LiveAttempt] = {}
    above: BlockRef | None = None
    number = 0
    while later or opened:
        if not opened:
            number, above = _window(later[0]) or 0, None
        for content in await asyncio.gather(*map(read, range(number, number + _AT_ONCE))):
            if content is None:
                return evidence
            if above is not None and content.parent_id != above.id:
                found = f"final block {content.block.number} does not follow final block {above.number} {above.id}"
                raise InconsistentNode(f"{found}: the nodes contradict each other, nothing is called dead")
            above = content.block
            while later and _window(later[0]) == above.number:
                one = later.pop(0)
                opened[one.signed.txid] = one
            _look(content, opened, evidence)
            if not opened:
                break
        number = (above.number if above is not None else number) + 1
    return evidence


def _window(attempt: LiveAttempt) -> int | None:
    """The height of the block that an attempt refers to; None where no window can be told."""
    return None if attempt.signed.expiration is None else attempt.signed.ref_block


def _look(content: BlockContent, opened: dict[str, LiveAttempt], evidence: Evidence) -> None:
    """Close every attempt that this block decides."""
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


async def search_up_to(payment: Sequence[LiveAttempt], last: BlockRef, read: ReadBlock) -> Evidence:
    """Look for the attempts of a payment that does not expire (EVM), and for whoever used their nonce, in the blocks
    after those that were final when they were built, up to ``last``. One attempt is found, or listed; or something
    else is named as the user of the nonce, and all are absent; or nothing is proved: the blocks could not be read to
    the end, or do not show the user.

    Raises InconsistentNode where a final block does not follow the one before, and what ``read`` raises.
    """
    starts = [one.signed.ref_block for one in payment if one.signed.ref_block is not None]
    if len(starts) < len(payment):
        return Evidence()
    by_txid = {one.signed.txid: one for one in payment}
    sender, nonce = payment[0].signed.sender, payment[0].signed.nonce
    user: NonceUse | None = None
    above: BlockRef | None = None
    complete = True
    for first in range(min(starts), last.number + 1, _AT_ONCE):
        for content in await asyncio.gather(*map(read, range(first, min(first + _AT_ONCE, last.number + 1)))):
            if content is None:
                return Evidence()
            if above is not None and content.parent_id != above.id:
                found = f"final block {content.block.number} does not follow final block {above.number} {above.id}"
                raise InconsistentNode(f"{found}: the nodes contradict each other, nothing is called dead")
            above = content.block
            if unreadable := content.unreadable & by_txid.keys():
                return Evidence(listed={by_txid[txid].id: above for txid in unreadable})
            complete = complete and not content.unreadable
            for result in content.transactions:
                if (one := by_txid.get(result.txid)) is not None and one.is_made_by(result):
                    return Evidence(found={one.id: result})
            for use in uses_in(content, sender):
                # Of delegations the first: that one may be carried again by anybody, and is passed over then.
                if use.nonce == nonce and (user is None or use.delegate is None):
                    user = use
    if above is None or above.id != last.id:
        return Evidence()
    absent = {} if user is None else {one.id: last for one in payment}
    return Evidence(absent=absent, user=user, complete=complete)
