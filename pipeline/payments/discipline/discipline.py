"""What differs between chains in the protocol of sending: what the first commit reserves, and what a restart may do.

    expiring   TRON: a reference block and an expiration; the next attempt waits until they are past
    numbered   EVM: a nonce of the sender; what shares it lands once, so that fees can be raised, and gaps are filled

A third one, inputs (Bitcoin), reserves outputs that every attempt of a payment spends.
"""

from typing import Protocol

from pipeline.chains.fees import Fee, Parameters
from pipeline.chains.provider import NumberedProvider, Provider
from pipeline.chains.values import Payment, UnsignedTransaction
from pipeline.payments.discipline.expiring import Expiring
from pipeline.payments.discipline.numbered import Numbered


class Discipline(Protocol):
    """Of one chain."""

    @property
    def replaces(self) -> NumberedProvider | None:
        """The chain, where what is out can be replaced and gaps are filled; None: it expires by itself."""

    async def counted(self, sender: str) -> int | None:
        """What a node shows of the sender, to be asked before the first commit. None: nothing is counted."""

    async def prepare(self, payment: Payment, fee: Fee, priced_at: float, lifetime_seconds: float) -> Parameters:
        """All that nodes have to say of a transaction, before anything is reserved. ``priced_at``: when ``fee`` was
        simulated, on the clock of ``time.monotonic``."""

    def place(
        self, payment: Payment, parameters: Parameters, nonce: int | None
    ) -> tuple[Parameters, UnsignedTransaction]:
        """The bytes with what the first commit reserved. Asks nobody."""


def discipline_of(provider: Provider) -> Discipline:
    """The one that a chain works by."""
    numbered = provider.capabilities.numbered
    return Expiring(provider) if numbered is None else Numbered(numbered)
