"""What is stuck and needs a signature, in the database: payments to be replaced, nonces to be filled (EVM)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.kinds import Kind
from pipeline.chains.values import Asset, Payment, SignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.live import signed_from_row
from pipeline.units import parse_raw

_AT_ONCE = 200
"""Rows a round; the next follows at once if there are more."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The wallet a payment is for or from, as the database has it; nothing of it is believed at signing."""

    wallet_id: UUID | None
    address: str | None
    derivation_index: int | None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Owner":
        return cls(row["wallet_id"], row["wallet"], row["derivation_index"])


@dataclass(frozen=True, slots=True)
class Wanted:
    """A payment that is to be offered again for more."""

    transfer_id: int
    bundle: int
    asset_id: UUID
    kind: Kind
    job: UUID | None
    payment: Payment
    newest: int
    """Id of the attempt whose fees are raised."""
    signed: SignedTransaction
    owner: Owner
    promised: int
    """By its sender to other payments that are out: coins and fees, native raw units."""
    is_overdue: bool
    """Whether its newest attempt is out for longer than a payment may be first in its line."""


@dataclass(frozen=True, slots=True)
class Void:
    """A nonce to be filled."""

    id: int
    sender: str
    nonce: int
    asset_id: UUID
    """The native coin's."""
    owner: Owner


class ReplacementStore:
    """For the processes that have the keys."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def wanted(self, chain_id: int, kinds: Sequence[Kind]) -> list[Wanted]:
        """Payments to be replaced, the lowest nonces first."""
        rows = await self._rows("payments/send/wanted", chain_id=chain_id, kinds=list(kinds), limit=_AT_ONCE)
        return [
            Wanted(
                transfer_id=row["transfer_id"],
                bundle=row["bundle_id"],
                asset_id=row["asset_id"],
                kind=Kind(row["kind"]),
                job=row["job_id"],
                payment=Payment(
                    row["from_address"],
                    row["to_address"],
                    Asset(row["symbol"], row["decimals"], row["contract_address"], int(row["transfer_tolerance"])),
                    parse_raw(row["amount"]),
                ),
                newest=row["attempt_id"],
                signed=signed_from_row(row),
                owner=Owner.from_row(row),
                promised=parse_raw(row["promised"]),
                is_overdue=row["overdue"],
            )
            for row in rows
        ]

    async def voids(self, chain_id: int, gas_address: str, *, of_gas_wallet: bool) -> list[Void]:
        """Nonces to be filled, of the gas wallet or of customers' wallets."""
        parameters = {"gas_address": gas_address, "of_gas_wallet": of_gas_wallet, "limit": _AT_ONCE}
        rows = await self._rows("payments/send/voids", chain_id=chain_id, **parameters)
        return [
            Void(row["nonce_id"], row["sender"], row["nonce"], row["asset_id"], Owner.from_row(row)) for row in rows
        ]

    async def decline(self, wanted: Wanted, reason: str) -> None:
        """The payment stays as it is, and says why."""
        await self._rows("payments/send/decline_replacement", transfer_id=wanted.transfer_id, reason=reason)

    async def request_reconciliation(self, chain_id: int, void: Void, counted: int) -> None:
        """The nonce is used on the chain, and not by us: the confirmation worker finds out by what."""
        await self._rows("payments/send/request_reconciliation", chain_id=chain_id, sender=void.sender, counted=counted)

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)
