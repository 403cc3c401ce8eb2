"""Signatures that are asked for, as the database keeps them: rows of ``signing_requests`` with what they pay."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_type_hints
from uuid import UUID

from pipeline.chains.fees import EvmParameters, Parameters, TronParameters, told_of
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Asset, Payment
from pipeline.signing.request import SigningRequest
from pipeline.units import parse_raw


class UnreadableRequest(Exception):
    """A row of signing_requests makes no request: somebody else has written it. It may have been signed for all that:
    its payment waits, and nothing else does."""


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A transaction that may have been signed, and whose bytes are not kept yet."""

    id: UUID
    bundle: int
    kind: Kind
    transfer: int
    asset_id: UUID
    job: UUID | None
    """None: of a gap, or of a replacement that belongs to no job's attempt."""
    wallet_id: UUID | None
    wallet_index: int | None
    """As the database has it; the signer believes nothing of it."""
    wallet: str
    """For people."""
    payment: Payment
    parameters: Parameters
    unsigned: bytes
    """As they were built when it was asked for."""
    replaces: bytes | None
    """Signed bytes of the attempt whose fees it raises."""
    is_over: bool
    """Whether no block can take it any more, by the database's clock (TRON)."""
    is_wanted: bool
    """Whether a job waits for it. False: that one has ended, and it is withdrawn."""

    @property
    def nonce(self) -> int | None:
        """The one that its transaction has; None where transactions have none."""
        return self.parameters.nonce if isinstance(self.parameters, EvmParameters) else None

    @property
    def is_numbered(self) -> bool:
        """Whether its transaction has a nonce."""
        return self.nonce is not None

    def to_signer(self, family: str, network_id: str) -> SigningRequest:
        """What the signer is told."""
        payment = self.payment
        return SigningRequest(
            request_id=str(self.id),
            kind=self.kind.value,
            family=family,
            network_id=network_id,
            wallet_index=self.wallet_index,
            sender=payment.sender,
            receiver=payment.receiver,
            contract=payment.asset.contract,
            amount=payment.amount,
            parameters=self.parameters,
            replaces=self.replaces,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "OpenRequest":
        """Raises UnreadableRequest."""
        try:
            parameters = parameters_from(row["parameters"])
        except (KeyError, TypeError, ValueError) as wrong:
            raise UnreadableRequest(
                f"signing request {row['request_id']} of transfer {row['transfer_id']} cannot be read "
                f"({type(wrong).__name__}: {wrong}): nothing is signed for it. Find out who wrote its parameters"
            ) from wrong
        asset = Asset(row["symbol"], row["decimals"], row["contract_address"], int(row["transfer_tolerance"]))
        return cls(
            id=row["request_id"],
            bundle=row["bundle_id"],
            kind=Kind(row["kind"]),
            transfer=row["transfer_id"],
            asset_id=row["asset_id"],
            job=row["transfer_job"],
            wallet_id=row["wallet_id"],
            wallet_index=row["derivation_index"],
            wallet=row["address"] or row["from_address"],
            payment=Payment(row["from_address"], row["to_address"], asset, parse_raw(row["amount"])),
            parameters=parameters,
            unsigned=bytes(row["unsigned_bytes"]),
            replaces=None if row["replaced_bytes"] is None else bytes(row["replaced_bytes"]),
            is_over=bool(row["is_over"]),
            is_wanted=bool(row["is_wanted"]),
        )


def parameters_column(parameters: Parameters) -> dict[str, Any]:
    """As the column keeps them: numbers, and times as ISO 8601."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in told_of(parameters).items()
    }


def parameters_from(column: Mapping[str, Any]) -> Parameters:
    """The same again. Raises KeyError, TypeError, ValueError for a column that somebody else has written."""
    if "nonce" in column:
        return _typed(EvmParameters(**column))
    times = {name: datetime.fromisoformat(column[name]) for name in ("expiration", "timestamp")}
    return _typed(TronParameters(**{**column, **times}))


def _typed(parameters: Parameters) -> Parameters:
    for name, hint in get_type_hints(type(parameters)).items():
        if not isinstance(getattr(parameters, name), hint):
            raise TypeError(f"{name} is {getattr(parameters, name)!r}")
    return parameters
