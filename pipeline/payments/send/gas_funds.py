"""What a gas wallet has to give, and what it was asked for already."""

from collections.abc import Callable
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


async def check_gas_funds(conn: AsyncConnection[Any], chain_id: int, payment: Payment, funds: GasFunds) -> None:
    """Raises GasFundsShort. Until commit nobody else asks the gas wallet for anything."""
    await fetch(conn, "payments/lock_gas", chain_id=chain_id)
    parameters = {"chain_id": chain_id, "gas_address": payment.sender, "after": funds.newest}
    (asked,) = await fetch(conn, "payments/send/gas_asked_since", **parameters)
    available = funds.available - parse_raw(asked["amount"]) - asked["payments"] * funds.fee
    if payment.amount + funds.fee > available:
        raise GasFundsShort(funds.short(available))
