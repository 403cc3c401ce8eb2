"""What a transaction did to the payments that it carries, by its effects in a final block. Pure.

Each effect counts for one payment only: two equal payments of one transaction need two effects.
"""

from collections.abc import Iterable, Sequence
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
    place: str | None = None
    """Of the effect that made it, where it is final; of the first one, where it came in several pieces."""

    def agrees(self, other: "Judged") -> bool:
        """Whether both say that the same has happened, in whatever words."""
        mine, others = (self.state, self.arrived, self.error is None), (other.state, other.arrived, other.error is None)
        return mine == others


def judge(payments: Sequence[Payment], result: TransactionResult) -> list[Judged]:
    """How each of the payments of one transaction ends, in their order. A payment is final if its receiver got it,
    reverted if he got nothing. A token that takes a fee moves less than the amount, or more than that from the sender:
    then it is final, too, as money has moved, and says what happened."""
    if not result.success:
        reason = f"tx {result.txid} failed on the chain: {result.message or 'no reason given'}"
        return [Judged(TransferState.REVERTED, reason) for _ in payments]
    pieces, free = _assign(payments, result)
    _share(payments, pieces, free)
    ways = {_way(payment) for payment in payments}
    beside = [one for one in free if (one.contract, one.sender, one.receiver) not in ways]
    return [
        _judged(payment, got, _went_elsewhere(payment, beside), result.txid)
        for payment, got in zip(payments, pieces, strict=True)
    ]


def did_all(payments: Sequence[Payment], result: TransactionResult) -> bool:
    """Whether each of these payments has an effect of its own, within its asset's tolerance."""
    return result.success and all(_assign(payments, result)[0])


def _assign(payments: Sequence[Payment], result: TransactionResult) -> tuple[list[list[Effect]], list[Effect]]:
    """For each payment the effect that made it, if there is one, and the effects that are left."""
    free = list(result.effects)
    pieces: list[list[Effect]] = [[] for _ in payments]
    for tolerant in (False, True):
        for payment, got in zip(payments, pieces, strict=True):
            if not got and (effect := _closest(payment, free, tolerant=tolerant)) is not None:
                free.remove(effect)
                got.append(effect)
    return pieces, free


def _closest(payment: Payment, free: Sequence[Effect], *, tolerant: bool) -> Effect | None:
    """The effect that nobody has yet and that is nearest to the payment, within its asset's tolerance if ``tolerant``.
    The one with the exact amount goes first, so that no other payment takes it."""
    most = payment.asset.tolerance if tolerant else 0
    fitting = [one for one in _of(payment, free) if abs(one.amount - payment.amount) <= most]
    return min(fitting, key=lambda one: abs(one.amount - payment.amount), default=None)


def _share(payments: Sequence[Payment], pieces: Sequence[list[Effect]], free: list[Effect]) -> None:
    """Give token payments that have no effect yet what else their receivers got: one each, and the rest to the last of
    them with that sender and receiver. Coins come whole or not at all."""
    for position, (payment, got) in enumerate(zip(payments, pieces, strict=True)):
        if got or payment.asset.is_native:
            continue
        waiting = sum(
            1
            for other, has in zip(payments[position + 1 :], pieces[position + 1 :], strict=True)
            if not has and _way(other) == _way(payment)
        )
        left = list(_of(payment, free))
        got.extend(left[:1] if waiting else left)
        for effect in got:
            free.remove(effect)


def _judged(payment: Payment, got: Sequence[Effect], elsewhere: Sequence[Effect], txid: str) -> Judged:
    arrived = sum(one.amount for one in got)
    if not arrived:
        reason = f"{EFFECT_ABSENT}: tx {txid} succeeded without moving what it was to move"
        return Judged(TransferState.REVERTED, reason)
    differs = None if arrived == payment.amount else arrived
    is_close = abs(arrived - payment.amount) <= payment.asset.tolerance
    told = None
    if not payment.asset.is_native and (elsewhere or not is_close):
        told = f"tx {txid} is final, but {_told(payment, arrived, elsewhere)}"
    return Judged(TransferState.FINAL, told, differs, got[0].place)


def _went_elsewhere(payment: Payment, beside: Iterable[Effect]) -> list[Effect]:
    """What left the sender beside the payments, of the same asset."""
    return [one for one in beside if (one.contract, one.sender) == (payment.asset.contract, payment.sender)]


def _of(payment: Payment, effects: Iterable[Effect]) -> Iterable[Effect]:
    return (one for one in effects if (one.contract, one.sender, one.receiver) == _way(payment))


def _way(payment: Payment) -> tuple[str | None, str, str]:
    return payment.asset.contract, payment.sender, payment.receiver


def _told(payment: Payment, arrived: int, elsewhere: Sequence[Effect]) -> str:
    def human(raw: int) -> str:
        return to_human(raw, payment.asset.decimals)

    what = f"{human(arrived)} of {human(payment.amount)} {payment.asset.symbol} arrived at {payment.receiver}"
    went = "".join(f", {human(one.amount)} went to {one.receiver}" for one in elsewhere)
    return (
        f"{what}{went}: the token {payment.asset.contract} takes a fee on transfers. Switch the asset off "
        "(flagpost assets disable), or have its owner switch the fee off"
    )
