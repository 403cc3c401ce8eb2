"""Senders that stand still for longer than their chain's bound (EVM), and what is said of it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a sender stands still, and what to do. Stays the same text while nothing changes: it is compared."""

    reason: str
    unexplained: range | None = None
    """Nonces of which a person has to judge what used them (``release_sender``)."""


@dataclass(frozen=True, slots=True)
class Released:
    """What a person has vouched for of a sender (``release_sender``)."""

    nonces: range
    at: datetime

    def covers(self, nonce: int, sent_at: datetime | None) -> bool:
        """Whether it speaks of a payment: one with such a nonce that was out by then."""
        return nonce in self.nonces and sent_at is not None and sent_at < self.at


def longest_in_line(replace_after_blocks: int, block_seconds: float) -> float:
    """Seconds for which a payment may be first in its line and in no block: by then it was offered again for more five
    times. docs/operating.md, sql/queries/doctor/senders.sql and sql/queries/transfers/wanted.sql say the same."""
    return max(300.0, 5 * replace_after_blocks * block_seconds)
