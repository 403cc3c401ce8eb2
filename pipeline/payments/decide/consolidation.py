"""Whether a wallet's tokens move to the treasury now. Pure."""

from collections.abc import Collection
from uuid import UUID

from pipeline.payments.decide.decisions import Holdings, NeedsGas, Pay, Skip, Wait, native_needed, ready_tokens
from pipeline.payments.terms import Terms

RETRY_SECONDS = 15.0
"""Where head and final blocks disagree, about a quarter of the minute they need to agree on TRON; or two processes on a
price."""


def plan_consolidation(
    terms: Terms, final: Holdings, head: Holdings, paid: Collection[UUID] = ()
) -> tuple[Pay, ...] | Skip | Wait:
    """What would be moved, one payment a token: the whole balance of a final block, as far as the newest block still
    shows it. ``paid`` are the assets that this job has moved already. Tokens that are just leaving stop no other."""
    ready = ready_tokens(terms, final, paid)
    if not ready:
        held = ", ".join(token.human(final.tokens.get(token.id, 0)) for token in terms.tokens) or "no token"
        return Skip(f"holds {held}: not worth a transfer")
    at_head = {pay.asset.id: head.tokens.get(pay.asset.id, 0) for pay in ready}
    plan = [Pay(pay.asset, min(pay.amount, at_head[pay.asset.id])) for pay in ready]
    moving = tuple(pay for pay in plan if pay.amount >= (pay.asset.execute_min or 1))
    if not moving:
        leaving = ", ".join(
            f"{pay.asset.human(at_head[pay.asset.id])} in the newest block, "
            f"{pay.asset.human(pay.amount)} in the final one"
            for pay in ready
        )
        return Wait(RETRY_SECONDS, f"tokens are leaving: {leaving}")
    return moving


def lacks_reserve(terms: Terms, final: Holdings, head: Holdings) -> NeedsGas | Wait | None:
    """Short of the fee reserve, whatever the transfer costs: no need to simulate it."""
    return afford(terms, final, head, 0)


def afford(terms: Terms, final: Holdings, head: Holdings, transfer_fee: int) -> NeedsGas | Wait | None:
    """Whether the wallet can pay ``transfer_fee``; None: it can.

    Only the final block calls for gas, because gas is decided from it: where the newest block alone lacks coins, they
    are leaving or its node is behind, and a top-up would find nothing to do and send the wallet straight back."""
    needed = native_needed(terms, transfer_fee)
    if final.native < needed:
        return NeedsGas(f"holds {terms.native.human(final.native)}, its transfer needs {terms.native.human(needed)}")
    if head.native < needed:
        return Wait(
            RETRY_SECONDS,
            f"{terms.native.human(head.native)} in the newest block, {terms.native.human(final.native)} in the final "
            f"one: its transfer needs {terms.native.human(needed)}",
        )
    return None
