"""Settlement where transactions are numbered by their sender (EVM)."""

from dataclasses import dataclass

from pipeline.blocks.follower import ReadBlock
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BlockRef, Verdict
from pipeline.payments.blocked import Blocked
from pipeline.payments.reconcile.reconciliation import Reconciliation
from pipeline.payments.reconcile.store import ReconciliationStore
from pipeline.payments.settle.attempts import PaymentAttempts
from pipeline.payments.settle.nonce_queue import NonceQueues
from pipeline.payments.settle.strategy import View
from pipeline.payments.settle.superseded import SupersededPayments

REPLACE_AFTER_BLOCKS = 6
"""As in the table chains."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """What is needed on a chain whose transactions are numbered."""

    provider: NumberedProvider
    """The chain's provider again."""
    store: ReconciliationStore
    replace_after_blocks: int = REPLACE_AFTER_BLOCKS


class NumberedStrategy:
    """A ``SettlementStrategy`` for payments with a nonce."""

    def __init__(
        self,
        chain_id: int,
        numbering: Numbering,
        queues: NonceQueues,
        superseded: SupersededPayments,
        read: ReadBlock,
        lookback: int,
    ) -> None:
        """``read`` gives final blocks; ``lookback`` of them are read for a sender without records."""
        self._provider = numbering.provider
        self._queues = queues
        self._superseded = superseded
        self._reconciliation = Reconciliation(
            chain_id, numbering.store, numbering.provider, read, lookback, numbering.replace_after_blocks
        )

    async def verdicts(self, attempts: PaymentAttempts) -> list[Verdict]:
        return await self._provider.verdicts([attempt.signed for attempt in attempts])

    async def prove(self, view: View) -> None:
        past = await self._queues.check(view.head, await self._superseded.undecided(view.live), view.waiting)
        await self._superseded.prove(view.read_up_to, view.head, past)

    async def reconcile(self, read_up_to: BlockRef) -> int:
        return await self._reconciliation.reconcile(read_up_to)

    async def audit(self) -> None:
        await self._reconciliation.audit()

    async def alarms(self) -> list[str]:
        return [*self._superseded.alarms(), *self._queues.alarms(), *await self._reconciliation.alarms()]

    def blocked(self) -> dict[str, Blocked]:
        """What an operator can release goes before what he cannot."""
        return {**self._queues.blocked(), **self._reconciliation.blocked(), **self._superseded.blocked()}

    def forget_but(self, bundles: set[int]) -> None:
        self._superseded.forget_but(bundles)
        if not bundles:
            self._queues.clear()
