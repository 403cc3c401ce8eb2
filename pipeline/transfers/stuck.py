"""Senders that stand still for longer than their chain's bound (EVM), and what is said of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a sender stands still, and what to do. Stays the same text while nothing changes: it is compared."""

    reason: str
    unexplained_below: int | None = None
    """Nonces below are used, and what used them is for a person to judge (``release_sender``)."""


def longest_in_line(replace_after_blocks: int, block_seconds: float) -> float:
    """Seconds for which a payment may be first in its line and in no block: by then it was offered again for more five
    times. docs/operating.md, sql/queries/doctor/senders.sql and sql/queries/transfers/wanted.sql say the same."""
    return max(300.0, 5 * replace_after_blocks * block_seconds)
