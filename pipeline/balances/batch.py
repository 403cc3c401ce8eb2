"""What became of one claim, for counts and log lines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from pipeline.balances.due import Claim, DueBalance
from pipeline.balances.store import Stored, error_of
from pipeline.chains.values import Balance


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one claim."""

    chain: str
    block: int | None
    """The final block the balances were read at."""
    read: int
    failed: int
    """Could not be read; ``last_error`` says why."""
    older: int
    """Read at an older block than the balance that is stored already, and not used."""
    lost: int
    """Taken over by another sync, or unlocked by hand, while they were read."""
    changed_wallets: Sequence[UUID]
    """The wallet of each balance that changed."""
    new_errors: Sequence[tuple[DueBalance, str]]
    """What failed, and did not fail in the same way the last time."""
    stored_at: datetime | None
    """By the clock of the database; None: nothing was stored."""

    @classmethod
    def of(cls, chain: str, claim: Claim, balances: Sequence[Balance], stored: Mapping[UUID, Stored]) -> Self:
        """``balances`` in the order of the claim."""
        outcomes = Counter(one.outcome for one in stored.values())
        pairs = list(zip(claim.balances, balances, strict=True))
        errors = [(due, error_of(balance)) for due, balance in pairs]
        return cls(
            chain=chain,
            block=max((balance.block.number for balance in balances if balance.block is not None), default=None),
            read=outcomes["read"],
            failed=outcomes["failed"],
            older=outcomes["older"],
            lost=len(claim.balances) - len(stored),
            changed_wallets=[
                due.wallet_id
                for due, balance in pairs
                if due.id in stored and stored[due.id].outcome == "read" and str(balance.raw) != due.known_raw
            ],
            new_errors=[(due, error) for due, error in errors if error is not None and error != due.known_error],
            stored_at=min((one.at for one in stored.values()), default=None),
        )

    @property
    def changed(self) -> int:
        """Balances that have another amount now."""
        return len(self.changed_wallets)
