"""What asks for a signature: one payment, and all those of a job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pipeline.chains.fees import Parameters
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Payment, UnsignedTransaction
from pipeline.payments.send.gas_funds import GasFunds
from pipeline.queue.jobs import Job

Place = Callable[[int | None], tuple[Parameters, UnsignedTransaction]]
"""The bytes with a nonce; None where transactions have none. Asks nobody: it is called with a transaction open."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One payment that asks for a signature, with everything decided but its nonce (EVM). Compared and hashed by
    identity."""

    kind: Kind
    asset_id: UUID
    payment: Payment
    fee: int
    """The most that its transaction is to cost, native raw units: budgets count it with the amount."""
    place: Place
    wallet_id: UUID | None
    wallet_index: int | None
    wallet: str
    transfer_id: int | None = None
    """An intent of its job that goes on. None: it is written."""
    gas_funds: GasFunds | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JobAsks:
    """The payments of one job, all from one sender, in order; compared and hashed by identity."""

    job: Job
    asks: Sequence[Ask]
    not_sent: Mapping[str, str] = field(default_factory=dict)
    """What the job cannot pay: reasons by symbol."""

    @property
    def sender(self) -> str:
        """Whose coins or tokens are spent."""
        return self.asks[0].payment.sender
