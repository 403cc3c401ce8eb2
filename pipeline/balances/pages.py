"""Pages of balances: what of one asset is read together, at the chain's interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from psycopg.rows import TupleRow

from pipeline.balances.due import error_of
from pipeline.chains.values import Asset, Balance, BalanceQuery


@dataclass(frozen=True, slots=True)
class PageClaim:
    """A page that one reading has locked."""

    lock: str
    """In ``sync_pages.locked_by``: no other claim has it."""
    asset_id: UUID
    asset: Asset
    after_id: UUID
    """The page begins behind this balance."""
    last_id: UUID
    """And ends here."""
    record: bool
    """The rows of all its balances are to be brought up to date."""

    @classmethod
    def of(cls, lock: str, row: TupleRow) -> Self:
        """From a row of ``sync/claim_page``."""
        asset_id, after_id, last_id, record, symbol, decimals, contract = row
        return cls(lock, asset_id, Asset(symbol, decimals, contract), after_id, last_id, record)


@dataclass(frozen=True, slots=True)
class Page:
    """The balances of a claim. The sequences run in parallel."""

    claim: PageClaim
    ids: Sequence[str]
    addresses: Sequence[str]
    known_raws: Sequence[str]
    """The amounts that are stored, in raw units."""
    known_errors: Sequence[str | None]
    """Why they could not be read the last time."""
    are_written: Sequence[bool]
    """Which are written even if the amount is the same."""
    is_cut: bool
    """The page holds more than was asked for."""

    @classmethod
    def of(cls, claim: PageClaim, rows: Sequence[TupleRow], limit: int) -> Self:
        """From the rows of ``sync/page``, of which ``limit`` were asked for."""
        ids, addresses, raws, errors, written = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return cls(claim, ids, addresses, raws, errors, written, is_cut=len(rows) >= limit)

    @property
    def queries(self) -> list[BalanceQuery]:
        """What to ask the chain, in the order of ``ids``. What is in a page was read before; an address that changed
        while no trigger fired is checked when the page is recorded."""
        asset, record = self.claim.asset, self.claim.record
        rows = zip(self.addresses, self.are_written, strict=True)
        return [BalanceQuery(address, asset, not (record or is_written)) for address, is_written in rows]


@dataclass(slots=True)
class PageChanges:
    """What a reading of a page found that has to be written."""

    places: list[int] = field(default_factory=list)
    """Of the balances that are written, in the page."""
    raws: list[str | None] = field(default_factory=list)
    blocks: list[int | None] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)
    first_block: int | None = None
    """The oldest block that anything was read at; None: nothing was."""
    last_block: int | None = None

    @classmethod
    def between(cls, page: Page, balances: Iterable[Balance]) -> Self:
        """``balances`` in the order of the page."""
        found = cls()
        seen: set[int] = set()
        rows = zip(balances, page.known_raws, page.are_written, strict=True)
        for place, (balance, known, is_written) in enumerate(rows):
            raw = None if balance.raw is None else str(balance.raw)
            number = None if balance.block is None else balance.block.number
            if number is not None:
                seen.add(number)
            if is_written or raw != known or number is None:
                found.places.append(place)
                found.raws.append(raw)
                found.blocks.append(number)
                found.errors.append(error_of(balance))
        found.first_block, found.last_block = min(seen, default=None), max(seen, default=None)
        return found
