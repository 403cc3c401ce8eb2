"""Payments that are decided, as the database keeps them: the intent, and the wallet it serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pipeline.chains.values import Asset, Payment
from pipeline.payments.requests import OpenRequest
from pipeline.payments.states import ON_CHAIN, TransferState
from pipeline.units import parse_raw


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment that has not settled: a row of ``transfers``."""

    id: int
    job: UUID
    """``job_logs.id`` of the job that decided it; not always the one that found it."""
    state: TransferState
    asset_id: UUID
    sender: str
    receiver: str
    amount: int
    request: OpenRequest | None
    """A signature that is asked for: it may have been given."""

    @property
    def is_out(self) -> bool:
        """Whether it may land at any moment."""
        return self.state in ON_CHAIN

    def payment(self, asset: Asset) -> Payment:
        """What its bytes must do."""
        return Payment(self.sender, self.receiver, asset, self.amount)


@dataclass(frozen=True, slots=True)
class Paid:
    """A final payment of a job."""

    asset_id: UUID
    transfer: int
    txid: str | None


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a worker knows of one job before it decides."""

    job: UUID
    wallet_id: UUID
    address: str
    derivation_index: int | None
    needs_gas: bool
    needs_consolidation: bool
    known_block: int | None
    """The newest final block that a balance of the wallet was stored at: no decision is made from an older one."""
    intents: tuple[Intent, ...]
    """The payments of this kind that are under way for the wallet, of this job (first) and others."""
    paid: tuple[Paid, ...]
    """This job's final payments: it never pays one of these assets again."""

    @property
    def own(self) -> tuple[Intent, ...]:
        """The payments of this very job."""
        return tuple(intent for intent in self.intents if intent.job == self.job)

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "Context":
        """From the rows of one job in ``payments/send/context``. Raises UnreadableRequest."""
        row = rows[0]
        return cls(
            job=row["job_uuid"],
            wallet_id=row["wallet_id"],
            address=row["address"],
            derivation_index=row["derivation_index"],
            needs_gas=row["needs_gas"],
            needs_consolidation=row["needs_consolidation"],
            known_block=row["known_block"],
            intents=tuple(_intent(one) for one in rows if one["transfer_id"] is not None),
            paid=tuple(Paid(UUID(one["asset"]), one["transfer"], one["txid"]) for one in row["paid"] or ()),
        )


def _intent(row: Mapping[str, Any]) -> Intent:
    return Intent(
        id=row["transfer_id"],
        job=row["transfer_job"],
        state=TransferState(row["transfer_state"]),
        asset_id=row["asset_id"],
        sender=row["from_address"],
        receiver=row["to_address"],
        amount=parse_raw(row["amount"]),
        request=OpenRequest.from_row(row) if row["request_id"] is not None else None,
    )
