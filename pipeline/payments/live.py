"""Payments that are out, as the database keeps them: signed transactions that may be in any block, and what each is to
do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pipeline.chains.values import Asset, Payment, SignedTransaction, TransactionResult
from pipeline.payments.states import AttemptState
from pipeline.units import parse_raw


@dataclass(frozen=True, slots=True)
class LiveTransfer:
    """A payment that a live attempt makes."""

    id: int
    kind: str
    job: UUID | None
    """None: a gap."""
    wallet: str
    payment: Payment


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """A transaction that may be in any block, and the payments that it carries: rows of ``payments/settle/live``."""

    id: int
    bundle_id: int
    """What its payments have in common with the other attempts that carry them."""
    state: AttemptState
    signed: SignedTransaction
    transfers: tuple[LiveTransfer, ...]
    """In the order of their ids; one where it carries no bundle."""
    block_number: int | None
    block_id: str | None
    first_broadcast_at: datetime | None = None

    @property
    def payments(self) -> tuple[Payment, ...]:
        """What its bytes must do."""
        return tuple(transfer.payment for transfer in self.transfers)

    @property
    def jobs(self) -> list[UUID]:
        """Those that wait for it."""
        return [transfer.job for transfer in self.transfers if transfer.job is not None]

    def is_made_by(self, result: TransactionResult) -> bool:
        """Whether a transaction with its txid is what was signed: of its sender, with its nonce. Else somebody has
        stored the txid of another one with it, and that one says nothing of this payment."""
        signed = self.signed
        return signed.nonce is None or (signed.sender, signed.nonce) == (result.sender, result.nonce)

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "list[LiveAttempt]":
        """A row for each payment of each attempt."""
        by_attempt: dict[int, list[Mapping[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: (row["attempt_id"], row["transfer_id"])):
            by_attempt.setdefault(row["attempt_id"], []).append(row)
        return [cls._from_rows(found) for found in by_attempt.values()]

    @classmethod
    def _from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "LiveAttempt":
        row = rows[0]
        return cls(
            id=row["attempt_id"],
            bundle_id=row["bundle_id"],
            state=AttemptState(row["state"]),
            signed=signed_from_row(row),
            transfers=tuple(map(_live_transfer, rows)),
            block_number=row["block_number"],
            block_id=row["block_id"],
            first_broadcast_at=row["first_broadcast_at"],
        )


def _live_transfer(row: Mapping[str, Any]) -> LiveTransfer:
    asset = Asset(row["symbol"], row["decimals"], row["contract_address"], int(row["transfer_tolerance"]))
    payment = Payment(row["from_address"], row["to_address"], asset, parse_raw(row["amount"]))
    return LiveTransfer(row["transfer_id"], row["kind"], row["job_id"], row["wallet"], payment)


def signed_from_row(row: Mapping[str, Any]) -> SignedTransaction:
    """The bytes as they were kept, with what is needed to prove how they ended."""
    return SignedTransaction(
        txid=row["txid"],
        raw=bytes(row["signed_bytes"]),
        sender=row["sender"],
        fee_cap=parse_raw(row["fee_cap"]),
        expiration=row["expiration"],
        ref_block=row["ref_block"],
        nonce=row["nonce"],
    )
