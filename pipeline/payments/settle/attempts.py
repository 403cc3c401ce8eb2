"""The live attempts of a payment: one where they expire, several that share a nonce where they are replaced."""

from collections.abc import Sequence

from pipeline.payments.intents import Kind, LiveAttempt
from pipeline.payments.send.sender import short
from pipeline.units import to_human

PaymentAttempts = Sequence[LiveAttempt]
"""All live attempts of one payment, oldest first; not empty."""


def by_payment(attempts: Sequence[LiveAttempt]) -> list[PaymentAttempts]:
    """Attempts by payment, oldest first."""
    grouped: dict[int, list[LiveAttempt]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.id):
        grouped.setdefault(attempt.transfer_id, []).append(attempt)
    return list(grouped.values())


def nonce_of(attempt: LiveAttempt) -> int:
    """Of an attempt on a chain whose transactions are numbered."""
    assert attempt.signed.nonce is not None  # noqa: S101 - check of triggers/money_enters.sql on these chains
    return attempt.signed.nonce


def describe(attempt: LiveAttempt) -> str:
    """``gas 0x… ← 0.001 BNB (tx ab12cd34…)``."""
    payment = attempt.payment
    arrow = "←" if attempt.kind == Kind.GAS else "→"
    amount = f"{to_human(payment.amount, payment.asset.decimals)} {payment.asset.symbol}"
    return f"{attempt.kind} {attempt.wallet} {arrow} {amount} (tx {short(attempt.signed.txid)})"


def txids(attempts: PaymentAttempts) -> str:
    """``tx 0xab…, 0xcd…``, in full."""
    return "tx " + ", ".join(attempt.signed.txid for attempt in attempts)
