"""Whether a wallet's tokens move to the treasury now. Pure."""

from pipeline.transfers.decisions import Holdings, NeedsGas, Pay, Skip, Wait, native_needed, ready_token
from pipeline.transfers.terms import Terms

_LOOK_AGAIN_SECONDS = 15.0
"""Where head and final blocks disagree: about a quarter of the minute they need to agree on TRON."""


def plan_consolidation(terms: Terms, final: Holdings, head: Holdings) -> Pay | Skip | Wait:
    """What would be moved: the whole balance of a final block, as far as the newest block still shows it."""
    ready = ready_token(terms, final)
    if ready is None:
        held = ", ".join(token.human(final.tokens.get(token.id, 0)) for token in terms.tokens) or "no token"
        return Skip(f"holds {held}: not worth a transfer")
    at_head = head.tokens.get(ready.asset.id, 0)
    amount = min(ready.amount, at_head)
    if ready.asset.execute_min is None or amount < ready.asset.execute_min:
        return Wait(
            _LOOK_AGAIN_SECONDS,
            f"tokens are leaving: {ready.asset.human(at_head)} in the newest block, "
            f"{ready.asset.human(ready.amount)} in the final one",
        )
    return Pay(ready.asset, amount)


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
            _LOOK_AGAIN_SECONDS,
            f"{terms.native.human(head.native)} in the newest block, {terms.native.human(final.native)} in the final "
            f"one: its transfer needs {terms.native.human(needed)}",
        )
    return None
