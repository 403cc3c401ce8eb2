"""What the chain itself says was paid, held against what the database says we meant to pay.

The result of a demo is read here and nowhere else: a system that records a payment it never made, or makes one it
never recorded, must not be able to call itself right.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Movement:
    """Coins or tokens that a transaction in the canonical chain moved; fees are not movements."""

    txid: str
    contract: str | None
    """None: the native coin."""
    sender: str
    receiver: str
    amount: int
    """Raw units, greater than zero."""


@dataclass(frozen=True, slots=True)
class Intended:
    """One signed transaction in the database, with what its transfer wanted."""

    txid: str
    transfer_id: int
    contract: str | None
    sender: str
    receiver: str
    amount: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Findings. ``faults`` says each wrong payment in words."""

    treasury_received: int
    """Raw units of the token that reached the treasury from our own wallets."""
    double_payments: int
    """Payments that should not be there: a second one for one transfer, or one that no transfer asked for."""
    faults: tuple[str, ...]


def audit(
    movements: Iterable[Movement],
    intended: Iterable[Intended],
    *,
    own: Collection[str],
    treasury: str,
    token: str,
) -> Audit:
    """Judge every movement out of ``own`` addresses (gas wallet, treasury and customers' wallets)."""
    ours = frozenset(own)
    wanted = {one.txid: one for one in intended}
    paid: Counter[int] = Counter()
    faults: list[str] = []
    received = 0
    for move in movements:
        if move.sender not in ours:
            continue
        if move.contract == token and move.receiver == treasury:
            received += move.amount
        one = wanted.get(move.txid)
        if one is None:
            faults.append(f"{_said(move)}: the database knows no such transaction")
        elif (move.contract, move.sender, move.receiver, move.amount) != (
            one.contract,
            one.sender,
            one.receiver,
            one.amount,
        ):
            faults.append(f"{_said(move)}: transfer {one.transfer_id} wanted {one.amount} to {one.receiver}")
        else:
            paid[one.transfer_id] += 1
            if paid[one.transfer_id] > 1:
                faults.append(f"{_said(move)}: payment {paid[one.transfer_id]} of transfer {one.transfer_id}")
    return Audit(received, len(faults), tuple(faults))


def _said(move: Movement) -> str:
    return f"{move.amount} of {move.contract or 'the coin'} from {move.sender} to {move.receiver} in {move.txid}"
