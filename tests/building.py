"""Transactions built as the sender builds them: a node asked for what they need, the bytes made by the codec."""

from typing import Any

from pipeline.chains.fees import Fee
from pipeline.chains.provider import NumberedProvider, Provider
from pipeline.chains.values import Payment, SignedTransaction, UnsignedTransaction


async def build(
    provider: Provider, payment: Payment, fee: Fee, lifetime: float, nonce: int | None = None
) -> UnsignedTransaction:
    """Raises what ``prepare`` and ``codec.build`` raise."""
    return provider.codec.build(payment, await provider.prepare(payment, fee, lifetime, nonce))


async def bump(
    provider: NumberedProvider, signed: SignedTransaction, *args: Any, **options: Any
) -> UnsignedTransaction:
    """A replacement of ``signed``; arguments as of ``prepare_replacement``. Raises what that raises."""
    parameters = await provider.prepare_replacement(signed, *args, **options)
    return provider.codec.build(provider.codec.decode(signed.raw, signed.sender), parameters)
