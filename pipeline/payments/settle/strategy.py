"""What differs between the disciplines in settlement: how it is proved that a transaction can never land.

    expiring   expiring.py   TRON: past its expiration, and in none of the blocks that could hold it
    numbered   numbered.py   EVM: its nonce was used in a final block by something else (superseded.py); what waits for
                             its turn (nonce_queue.py), and what is missing from the database (reconcile/)

A node's word that it does not find a transaction only starts the proof; the final blocks themselves carry it. Nothing
is decided anew before the chain has decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loguru import logger

from pipeline.chains.values import BlockRef, TransactionResult, Verdict
from pipeline.payments.blocked import Blocked
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt
from pipeline.payments.settle.attempts import PaymentAttempts, describe
from pipeline.payments.settle.unresolved import UnresolvedPayments


@dataclass(frozen=True, slots=True)
class View:
    """What a round knows of the chain and of the payments that are out."""

    read_up_to: BlockRef
    """All final blocks up to here were read and settled."""
    head: BlockRef
    live: Sequence[LiveAttempt]
    waiting: Sequence[LiveAttempt]
    """Those of ``live`` that are in no block now."""


class SettlementStrategy(Protocol):
    """Of the payments of one chain."""

    async def verdicts(self, attempts: PaymentAttempts) -> list[Verdict]:
        """What one node can prove of each attempt. Raises what the provider raises."""

    async def prove(self, view: View) -> None:
        """Expire the payments that can never land, settle those that are found instead; have done what lets the others
        land. Raises ChainError, psycopg.Error."""

    async def reconcile(self, read_up_to: BlockRef) -> int:
        """Search for transactions of our senders that are missing from the database, in final blocks up to
        ``read_up_to``, which were read; how many senders are being reconciled. Raises psycopg.Error."""

    async def audit(self) -> None:
        """Compare a few senders that nobody pays from now. Raises psycopg.Error."""

    async def alarms(self) -> list[str]:
        """Payments and senders that cannot be proved either way, or that wait for an operator."""

    def blocked(self) -> Mapping[str, Blocked] | None:
        """By sender, why it pays nothing now; None where no sender is ever blocked."""

    def forget_but(self, bundles: set[int]) -> None:
        """Only these are out."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What final blocks show of attempts, by attempt id."""

    found: dict[int, TransactionResult] = field(default_factory=dict)
    listed: dict[int, BlockRef] = field(default_factory=dict)
    """The block that holds it, where how it ended could not be read: it is there, whatever nodes say by its id."""


async def settle_evidence(
    attempts: Sequence[LiveAttempt], evidence: Evidence, said: Mapping[int, str], unresolved: UnresolvedPayments
) -> set[int]:
    """Settle attempts that blocks hold, whatever a node ``said`` of them (by attempt id); which these are."""
    for attempt in attempts:
        words = said.get(attempt.id, "not found")
        if result := evidence.found.get(attempt.id):
            logger.error("{}: {}, and it is in block {}", describe(attempt), words, result.block.number)
            await unresolved.settle(FoundAttempt(attempt, result))
        elif block := evidence.listed.get(attempt.id):
            logger.error("{}: {}, and block {} lists it", describe(attempt), words, block.number)
            await unresolved.note(attempt, block)
    return {attempt.id for attempt in attempts} & (evidence.found.keys() | evidence.listed.keys())
