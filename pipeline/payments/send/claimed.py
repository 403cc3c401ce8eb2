"""Jobs that a worker holds, and what they are to pay."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.chains.fees import Fee
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Payment
from pipeline.payments.intents import Context
from pipeline.payments.send.gas_funds import GasFunds
from pipeline.payments.terms import AssetTerms
from pipeline.queue.jobs import Job
from pipeline.signing.authority import Authority


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A job with what is known of its wallet; compared and hashed by identity."""

    job: Job
    context: Context
    authority: Authority


@dataclass(frozen=True, slots=True)
class Order:
    """A decided payment, priced."""

    claimed: Claimed
    kind: Kind
    asset: AssetTerms
    payment: Payment
    estimate: Fee
    gas_funds: GasFunds | None = None
    """Paid only if the gas wallet has that much to give, after all that others asked it for meanwhile."""
    priced_at: float = field(default_factory=time.monotonic)

    @property
    def cost(self) -> int:
        """Amount and fee of a payment in the native coin."""
        return self.payment.amount + self.estimate.fee


@dataclass(frozen=True, slots=True)
class Orders:
    """All that one job pays now, and what it cannot pay: reasons by symbol."""

    payments: tuple[Order, ...]
    not_sent: Mapping[str, str] = field(default_factory=dict)
