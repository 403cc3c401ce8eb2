"""What a gas wallet has to give, and what it was asked for already."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from pipeline.chains.values import Payment
from pipeline.db.rows import fetch
from pipeline.payments.send.refusals import GasFundsShort
from pipeline.units import parse_raw


@dataclass(frozen=True, slots=True)
class Promised:
    """What a gas wallet owes at one moment."""

    amount: int
    """Native raw units, with the fees of what is asked to be signed."""
    unsigned: int
    """Payments whose fees are not among it."""
    newest: int
    """Id of the last top-up that was known then."""


@dataclass(frozen=True, slots=True)
class GasFunds:
    """What a gas wallet has to give, native raw units, and the fee that one more payment costs."""

    available: int
    fee: int
    newest: int
    """Id of the last top-up that ``available`` knows of."""
    short: Callable[[int], str]
    """What people are told where only so much is left to give."""


@dataclass(frozen=True, slots=True)
class _Asked:
    amount: int
    payments: int


class GasAsked:
    """What a gas wallet was asked for since its funds were looked at, and is asked for now, one payment after the
    other. Until commit nobody else asks it for anything."""

    def __init__(self, since: Mapping[int, _Asked]) -> None:
        self._since = since
        self._now = _Asked(0, 0)

    @classmethod
    async def read(
        cls, conn: AsyncConnection[Any], chain_id: int, wanted: Sequence[tuple[Payment, GasFunds]]
    ) -> "GasAsked":
        """Under the lock of the chain's gas."""
        await fetch(conn, "payments/lock_gas", chain_id=chain_id)
        since = {}
        for newest in {funds.newest for _, funds in wanted}:
            parameters = {"chain_id": chain_id, "gas_address": wanted[0][0].sender, "after": newest}
            (row,) = await fetch(conn, "payments/send/gas_asked_since", **parameters)
            since[newest] = _Asked(parse_raw(row["amount"]), row["payments"])
        return cls(since)

    def ask(self, payment: Payment, funds: GasFunds, *, is_known: bool) -> None:
        """``is_known``: it stands in a row already, and others' funds are without it. Raises GasFundsShort, and then
        the payment is not counted."""
        since = self._since[funds.newest]
        asked = since.amount + self._now.amount
        available = funds.available - asked - (since.payments + self._now.payments) * funds.fee
        if payment.amount + funds.fee > available:
            raise GasFundsShort(funds.short(available))
        if not is_known:
            self._now = _Asked(self._now.amount + payment.amount, self._now.payments + 1)
