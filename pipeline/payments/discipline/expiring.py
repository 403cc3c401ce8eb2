"""Transactions that expire (TRON): they refer to a block, and no block takes them from their expiration on."""

from pipeline.chains.fees import Fee, Parameters
from pipeline.chains.provider import Provider
from pipeline.chains.values import Payment, UnsignedTransaction


class Expiring:
    """Implements :class:`pipeline.payments.discipline.discipline.Discipline`."""

    replaces = None

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def counted(self, sender: str) -> None:
        """Nothing: transactions have no order."""

    async def prepare(self, payment: Payment, fee: Fee, priced_at: float, lifetime_seconds: float) -> Parameters:
        return await self._provider.prepare(payment, fee, lifetime_seconds)

    def place(
        self, payment: Payment, parameters: Parameters, nonce: int | None
    ) -> tuple[Parameters, UnsignedTransaction]:
        """Raises ValueError for a nonce."""
        if nonce is not None:
            raise ValueError(f"nonce {nonce} given: these transactions have none")
        return parameters, self._provider.codec.build(payment, parameters)
