"""Signing requests as rows, written within a transaction that somebody else makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from pipeline.db.rows import fetch
from pipeline.payments.requests import OpenRequest, parameters_column
from pipeline.payments.send.asks import Ask
from pipeline.payments.send.refusals import StateChanged


@dataclass(frozen=True, slots=True)
class ToSign:
    """A payment whose signature is asked for."""

    ask: Ask
    transfer: int
    bundle: int
    job: UUID | None
    nonce: int | None
    """The one that was reserved for it (EVM)."""
    replaces: int | None = None
    """The attempt whose fees it raises."""
    replaced: bytes | None = None
    """That one's signed bytes."""


async def insert_requests(conn: AsyncConnection[Any], wanted: Sequence[ToSign]) -> list[OpenRequest]:
    """Ask for signatures. Raises StateChanged where one of them is not to be signed any more."""
    if not wanted:
        return []
    placed = [one.ask.place(one.nonce) for one in wanted]
    rows = await fetch(
        conn,
        "payments/send/ask",
        bundle_ids=[one.bundle for one in wanted],
        replaces=[one.replaces for one in wanted],
        nonces=[unsigned.nonce for _, unsigned in placed],
        ref_blocks=[unsigned.ref_block for _, unsigned in placed],
        expirations=[unsigned.expiration for _, unsigned in placed],
        parameters=[Jsonb(parameters_column(parameters)) for parameters, _ in placed],
        unsigned_bytes=[unsigned.raw for _, unsigned in placed],
        fee_caps=[unsigned.fee_cap for _, unsigned in placed],
    )
    ids = {row["bundle_id"]: row["request_id"] for row in rows}
    for one in wanted:
        if one.bundle not in ids:
            raise StateChanged(f"transfer {one.transfer} is not to be signed: its wallet was edited")
    return [
        OpenRequest(
            id=ids[one.bundle],
            bundle=one.bundle,
            kind=one.ask.kind,
            transfer=one.transfer,
            asset_id=one.ask.asset_id,
            job=one.job,
            wallet_id=one.ask.wallet_id,
            wallet_index=one.ask.wallet_index,
            wallet=one.ask.wallet,
            payment=one.ask.payment,
            parameters=parameters,
            unsigned=unsigned.raw,
            replaces=one.replaced,
            is_over=False,
            is_wanted=True,
        )
        for one, (parameters, unsigned) in zip(wanted, placed, strict=True)
    ]
