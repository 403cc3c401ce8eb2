"""What a transaction did to a payment, by its effects in a final block. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.chains.values import Effect, Payment, TransactionResult
from pipeline.payments.states import TransferState
from pipeline.units import to_human

EFFECT_ABSENT = "effect absent"


@dataclass(frozen=True, slots=True)
class Judged:
    """How a payment ends."""

    state: TransferState
    """FINAL or REVERTED."""
    error: str | None = None
    """Why it did not happen as it was meant to."""
    arrived: int | None = None
    """What its receiver got, raw units, where it is final and that is not its amount."""

    def agrees(self, other: "Judged") -> bool:
        """Whether both say that the same has happened, in whatever words."""
        mine, others = (self.state, self.arrived, self.error is None), (other.state, other.arrived, other.error is None)
        return mine == others


def judge(payment: Payment, result: TransactionResult) -> Judged:
    """A payment is final if its receiver got it, reverted if he got nothing. A token that takes a fee moves less than
    the amount, or more than that from the sender: then it is final, too, as money has moved, and says what
    happened."""
    if not result.success:
        reason = f"tx {result.txid} failed on the chain: {result.message or 'no reason given'}"
        return Judged(TransferState.REVERTED, reason)
    sent = [one for one in result.effects if (one.contract, one.sender) == (payment.asset.contract, payment.sender)]
    elsewhere = [one for one in sent if one.receiver != payment.receiver]
    moved = result.moved(payment)
    if moved is not None and (payment.asset.is_native or not elsewhere):
        return Judged(TransferState.FINAL, arrived=_unlike(payment, moved))
    arrived = sum(one.amount for one in sent if one.receiver == payment.receiver)
    if payment.asset.is_native or not arrived:
        reason = f"{EFFECT_ABSENT}: tx {result.txid} succeeded without moving what it was to move"
        return Judged(TransferState.REVERTED, reason)
    if abs(arrived - payment.amount) <= payment.asset.tolerance and not elsewhere:
        return Judged(TransferState.FINAL, arrived=_unlike(payment, arrived))  # in several pieces
    told = f"tx {result.txid} is final, but {_told(payment, arrived, elsewhere)}"
    return Judged(TransferState.FINAL, told, _unlike(payment, arrived))


def _unlike(payment: Payment, arrived: int) -> int | None:
    return None if arrived == payment.amount else arrived


def _told(payment: Payment, arrived: int, elsewhere: Sequence[Effect]) -> str:
    def human(raw: int) -> str:
        return to_human(raw, payment.asset.decimals)

    what = f"{human(arrived)} of {human(payment.amount)} {payment.asset.symbol} arrived at {payment.receiver}"
    went = "".join(f", {human(one.amount)} went to {one.receiver}" for one in elsewhere)
    return (
        f"{what}{went}: the token {payment.asset.contract} takes a fee on transfers. Switch the asset off "
        "(flagpost assets disable), or have its owner switch the fee off"
    )
