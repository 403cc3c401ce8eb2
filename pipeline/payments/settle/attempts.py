"""The live attempts of a payment, or of a bundle of payments: one where they expire, several that share a nonce where
they are replaced."""

from collections.abc import Sequence

from pipeline.chains.kinds import Kind
from pipeline.payments.broadcast import short
from pipeline.payments.live import LiveAttempt, LiveTransfer
from pipeline.units import to_human

PaymentAttempts = Sequence[LiveAttempt]
"""All live attempts of one payment or bundle, oldest first; not empty."""


def by_payment(attempts: Sequence[LiveAttempt]) -> list[PaymentAttempts]:
    """Attempts by payment, oldest first."""
    grouped: dict[int, list[LiveAttempt]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.id):
        grouped.setdefault(attempt.bundle_id, []).append(attempt)
    return list(grouped.values())


def nonce_of(attempt: LiveAttempt) -> int:
    """Of an attempt on a chain whose transactions are numbered."""
    assert attempt.signed.nonce is not None  # noqa: S101 - check of triggers/money_enters.sql on these chains
    return attempt.signed.nonce


def describe(attempt: LiveAttempt) -> str:
    """``gas 0x… ← 0.001 BNB (tx ab12cd34…)``."""
    return f"{', '.join(map(describe_transfer, attempt.transfers))} (tx {short(attempt.signed.txid)})"


def describe_transfer(transfer: LiveTransfer) -> str:
    """``gas 0x… ← 0.001 BNB``."""
    payment = transfer.payment
    arrow = "←" if transfer.kind == Kind.GAS else "→"
    amount = f"{to_human(payment.amount, payment.asset.decimals)} {payment.asset.symbol}"
    return f"{transfer.kind} {transfer.wallet} {arrow} {amount}"


def name_of(attempt: LiveAttempt) -> str:
    """``transfer 5``, or ``transfers 5, 6``."""
    ids = ", ".join(str(transfer.id) for transfer in attempt.transfers)
    return f"transfer{'s' if len(attempt.transfers) > 1 else ''} {ids}"


def txids(attempts: PaymentAttempts) -> str:
    """``tx 0xab…, 0xcd…``, in full."""
    return "tx " + ", ".join(attempt.signed.txid for attempt in attempts)
