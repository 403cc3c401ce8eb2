"""Balances that are due, as a claim brings them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from psycopg.rows import TupleRow

from pipeline.chains.values import Asset, Balance, BalanceQuery


@dataclass(frozen=True, slots=True)
class DueBalance:
    """One balance to read."""

    id: UUID
    wallet_id: UUID
    known_raw: str
    """The amount that is stored, in raw units."""
    known_error: str | None
    """Why it could not be read the last time."""
    query: BalanceQuery


@dataclass(frozen=True, slots=True)
class Claim:
    """Balances that one reading has locked."""

    lock: str
    """In ``wallet_balances.locked_by``: no other claim has it."""
    balances: Sequence[DueBalance]

    @classmethod
    def of(cls, lock: str, rows: Iterable[TupleRow]) -> Self:
        """From the rows of ``sync/claim``."""
        assets: dict[str | None, Asset] = {}
        due = []
        for balance_id, wallet_id, known_raw, known_error, address, symbol, decimals, contract in rows:
            if contract not in assets:
                assets[contract] = Asset(symbol, decimals, contract)
            due.append(
                DueBalance(balance_id, wallet_id, known_raw, known_error, BalanceQuery(address, assets[contract]))
            )
        return cls(lock, due)

    @property
    def queries(self) -> list[BalanceQuery]:
        """What to ask the chain, in the order of ``balances``."""
        return [one.query for one in self.balances]

    @property
    def ids(self) -> list[UUID]:
        """Of the rows of wallet_balances."""
        return [one.id for one in self.balances]


def error_of(balance: Balance) -> str | None:
    """Why this balance could not be read; None: it was."""
    if balance.error is None and (balance.raw is None or balance.block is None):
        return "the node gave neither a balance nor a reason"
    return balance.error
