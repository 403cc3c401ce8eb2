"""What became of one reading, for counts and log lines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from pipeline.balances.due import Claim, error_of
from pipeline.balances.page_store import StoredPage
from pipeline.balances.pages import Page, PageChanges
from pipeline.balances.store import Stored
from pipeline.chains.values import Balance, BalanceQuery


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one reading."""

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
    new_errors: Sequence[tuple[BalanceQuery, str]]
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
            new_errors=[(due.query, error) for due, error in errors if error is not None and error != due.known_error],
            stored_at=min((one.at for one in stored.values()), default=None),
        )

    @classmethod
    def of_page(cls, chain: str, page: Page, found: PageChanges, stored: StoredPage) -> Self:
        """What ``found`` says of a page, and what was stored of it."""
        whole, was_read = len(page.ids), stored.outcome == "read"
        failed, changed, new_errors = 0, [], []
        left = len(found.places) if was_read else 0
        for place, raw, error in zip(found.places, found.raws, found.errors, strict=True):
            wallet_id = stored.written.get(page.ids[place])
            if wallet_id is not None:
                left -= 1
                failed += error is not None
                if error is None and raw != page.known_raws[place]:
                    changed.append(wallet_id)
            if error is not None and error != page.known_errors[place]:
                new_errors.append((BalanceQuery(page.addresses[place], page.claim.asset), error))
        return cls(
            chain=chain,
            block=found.last_block,
            read=whole - failed - left if was_read else 0,
            failed=failed,
            older=whole if stored.outcome == "older" else 0,
            lost=whole if stored.outcome == "lost" else 0,
            changed_wallets=changed,
            new_errors=new_errors,
            stored_at=stored.at if was_read else None,
        )

    @property
    def changed(self) -> int:
        """Balances that have another amount now."""
        return len(self.changed_wallets)
