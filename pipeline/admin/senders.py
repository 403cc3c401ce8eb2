"""Senders that wait for an operator, and what lets them pay again (sql/functions/senders.sql)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.refusals import act


@dataclass(frozen=True, slots=True)
class WaitingSender:
    """A sender that pays nothing for now."""

    chain: str
    sender: str
    reason: str
    since: datetime | None


async def waiting(connection: AsyncConnection[Any]) -> list[WaitingSender]:
    """Senders that are frozen, stuck or being reconciled, with the reason."""
    return [WaitingSender(**row) for row in await act(connection, "senders/waiting")]


async def release(
    connection: AsyncConnection[Any],
    chain: str,
    sender: str,
    *,
    last_nonce: int | None = None,
    admin: UUID | None = None,
) -> str:
    """Let a sender pay again, once an operator has checked its unrecorded transactions. Returns why it waited.

    ``last_nonce``: the highest nonce that was checked; nothing is stated of higher ones. Raises NotFound for
    a sender that waits for nobody; Conflict for one that is being reconciled for less than ten minutes.
    """
    (row,) = await act(connection, "senders/release", chain=chain, sender=sender, last_nonce=last_nonce, admin=admin)
    return str(row["reason"])
