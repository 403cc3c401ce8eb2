"""Transactions that their sender numbers (EVM): the nonce is reserved in the first commit, and never expires."""

import time

from pipeline.chains.fees import EvmParameters, Fee, Parameters
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import Payment, UnsignedTransaction

_SIMULATION_KEPT_SECONDS = 5.0
"""What was simulated longer ago is simulated again right before it is asked for."""


class Numbered:
    """Implements :class:`pipeline.payments.discipline.discipline.Discipline`."""

    def __init__(self, provider: NumberedProvider) -> None:
        self.replaces = provider

    async def counted(self, sender: str) -> int:
        return (await self.replaces.sender_nonces(sender)).seen

    async def prepare(self, payment: Payment, fee: Fee, priced_at: float, lifetime_seconds: float) -> Parameters:
        if not payment.asset.is_native and time.monotonic() - priced_at > _SIMULATION_KEPT_SECONDS:
            fee = await self.replaces.estimate(payment)
        return await self.replaces.prepare(payment, fee, lifetime_seconds, 0)

    def place(
        self, payment: Payment, parameters: Parameters, nonce: int | None
    ) -> tuple[Parameters, UnsignedTransaction]:
        """Raises ValueError without a nonce, and for parameters of another family."""
        if nonce is None or not isinstance(parameters, EvmParameters):
            raise ValueError("a numbered transaction takes a nonce and the parameters of its family")
        numbered = parameters.numbered(nonce)
        return numbered, self.replaces.codec.build(payment, numbered)
