"""What is stuck and needs a signature, in the database: payments to be replaced, nonces to be filled (EVM).

Signed and broadcasting are one commit here: the payment is in the confirmation worker's hands already (a
replacement), or goes there with that commit (a gap), so that no signed bytes are ever left over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.values import Asset, Payment, SignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.intents import Kind, signed_from_row
from pipeline.payments.send.store import MovedOn, refusals_of_fees
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


class UpkeepStore:
    """For the processes that have the keys."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def wanted(self, chain_id: int, kinds: Sequence[Kind]) -> list[Wanted]:
        """Payments to be replaced, the lowest nonces first."""
        rows = await self._rows("payments/send/wanted", chain_id=chain_id, kinds=list(kinds), limit=_AT_ONCE)
        return [
            Wanted(
                transfer_id=row["transfer_id"],
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

    async def record_replacement(self, wanted: Wanted, signed: SignedTransaction) -> int:
        """Keep the bytes as one more attempt, on its way; returns its id. Only then may they be sent.

        Raises MovedOn: the payment is not broadcasting any more, or was replaced by somebody else; BudgetExhausted,
        UnusualFee."""
        crash_here(CrashPoint.REPLACE_BEFORE)
        with refusals_of_fees():
            return await self._record_replacement(wanted, signed)

    async def _record_replacement(self, wanted: Wanted, signed: SignedTransaction) -> int:
        async with self._pool.connection() as conn, conn.transaction():
            await fetch(conn, "payments/lock_jobs", job_ids=[] if wanted.job is None else [wanted.job])
            await fetch(conn, "payments/lock_transfers", transfer_ids=[wanted.transfer_id])
            rows = await fetch(
                conn,
                "payments/send/record_replacement",
                transfer_id=wanted.transfer_id,
                replaces=wanted.newest,
                **_bytes(signed),
            )
            if not rows:
                raise MovedOn(f"transfer {wanted.transfer_id} is not to be replaced any more")
            (begun,) = await fetch(conn, "payments/send/begin_replacement", attempt_id=rows[0]["id"])
            crash_here(CrashPoint.REPLACE_OPEN)
        crash_here(CrashPoint.REPLACE_AFTER)
        return int(begun["id"])

    async def decline(self, wanted: Wanted, reason: str) -> None:
        """The payment stays as it is, and says why."""
        await self._rows("payments/send/decline_replacement", transfer_id=wanted.transfer_id, reason=reason)

    async def record_gap(self, chain_id: int, void: Void, payment: Payment, fee: int, signed: SignedTransaction) -> int:
        """Keep a payment of a sender to itself, on its way; returns the attempt's id. Only then may it be sent. ``fee``
        is the most that it is to cost, native raw units.

        Raises MovedOn: the nonce is not void any more; BudgetExhausted, UnusualFee."""
        crash_here(CrashPoint.GAP_BEFORE)
        with refusals_of_fees():
            return await self._record_gap(chain_id, void, payment, fee, signed)

    async def _record_gap(
        self, chain_id: int, void: Void, payment: Payment, fee: int, signed: SignedTransaction
    ) -> int:
        async with self._pool.connection() as conn, conn.transaction():
            await fetch(conn, "payments/lock_sender", chain_id=chain_id, sender=void.sender)
            rows = await fetch(
                conn,
                "payments/send/request_gap",
                nonce_id=void.id,
                asset_id=void.asset_id,
                amount=payment.amount,
                fee_reserved=fee,
            )
            if not rows:
                raise MovedOn(f"nonce {void.nonce} of {void.sender} is not to be filled any more")
            transfer_id = rows[0]["id"]
            await fetch(conn, "payments/send/reserve_gap", nonce_id=void.id, transfer_id=transfer_id)
            (attempt,) = await fetch(conn, "payments/send/sign_gap", transfer_id=transfer_id, **_bytes(signed))
            await fetch(conn, "payments/send/begin_gap", transfer_id=transfer_id)
            (begun,) = await fetch(conn, "payments/send/begin_replacement", attempt_id=attempt["id"])
            crash_here(CrashPoint.GAP_OPEN)
        crash_here(CrashPoint.GAP_AFTER)
        return int(begun["id"])

    async def doubt(self, chain_id: int, void: Void, counted: int) -> None:
        """The nonce is used on the chain, and not by us: the confirmation worker finds out by what."""
        await self._rows("payments/send/doubt_sender", chain_id=chain_id, sender=void.sender, counted=counted)

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)


def _bytes(signed: SignedTransaction) -> dict[str, Any]:
    return {
        "txid": signed.txid,
        "signed_bytes": signed.raw,
        "sender": signed.sender,
        "nonce": signed.nonce,
        "ref_block": signed.ref_block,
        "fee_cap": signed.fee_cap,
    }
