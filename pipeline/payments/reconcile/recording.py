"""How a transaction of one of our senders that was missing gets into the database: the statements of a commit, each
within a transaction that a store has opened.

Everybody locks in the same order: job, payment, attempt. Nothing here reads a chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from pipeline.chains.kinds import GAP_AMOUNT, Kind
from pipeline.chains.values import BlockRef, TransactionResult
from pipeline.db.rows import fetch, fetch_value
from pipeline.payments.effect import Judged, judge
from pipeline.payments.ending import Ended, end, lock, release_jobs
from pipeline.payments.live import LiveAttempt
from pipeline.payments.reconcile.nonce_uses import NonceUse
from pipeline.payments.states import TransferState
from pipeline.queue.jobs import JobType

_JOB_TYPES = {Kind.GAS: JobType.GAS_TOPUP, Kind.CONSOLIDATION: JobType.CONSOLIDATION}


@dataclass(frozen=True, slots=True)
class NonceProof:
    """What shows that a nonce was used, and by what."""

    use: NonceUse
    """In a final block."""
    read: BlockRef
    """All final blocks up to here were read, and ``chain_cursors`` says so."""

    @property
    def finalized(self) -> int:
        """How many transactions of the sender are final at least."""
        return self.use.nonce + 1


@dataclass(frozen=True, slots=True)
class UnrecordedUse:
    """What used a nonce of a sender of ours in a final block, and is missing from the database."""

    use: NonceUse
    purpose: DictRow | None
    """Kind, wallet and asset of the payment that it was; None: no payment like ours."""
    superseded: Mapping[int, UUID]
    """Payments of the same wallet, asset and kind that are requested and not sent, with their jobs."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database says now of a transaction that was missing from it."""

    transfer_id: int | None
    """The payment that it was; None: no payment like ours, and its sender is frozen."""
    said: str
    """For people."""
    given_up: tuple[str, ...] = ()
    """Jobs that failed with it, each with the reason."""


async def count_sender(conn: AsyncConnection[Any], chain_id: int, proof: NonceProof) -> None:
    """Store how many transactions of a sender are final: a proof of expiry, or a transaction found, is stored with
    it."""
    await fetch(
        conn,
        "payments/settle/count_sender",
        chain_id=chain_id,
        sender=proof.use.sender,
        finalized=proof.finalized,
        final_block=proof.read.number,
    )


async def settle_found(conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt], proof: NonceProof) -> list[DictRow]:
    """End a payment by a transaction that did it and is none of its ``attempts``. Takes the locks; no row: the payment
    is not out any more."""
    await lock(conn, attempts)
    result = proof.use.result
    assert result is not None  # noqa: S101 - it made the payment
    transfers = attempts[0].transfers
    found = await _record_attempt(conn, transfers[0].id, result)
    if found is None:
        return []
    judged = judge(attempts[0].payments, result)
    rows = await end(
        conn, [Ended(found, one.id, result.fee, ends) for one, ends in zip(transfers, judged, strict=True)]
    )
    await release_jobs(conn, attempts)
    return rows


async def identify(conn: AsyncConnection[Any], chain_id: int, use: NonceUse) -> UnrecordedUse:
    """What a transaction of a sender of ours was for, and which payments it supersedes. Takes no lock."""
    own = use.result if use.delegate is None else None
    purpose = None if own is None else await _purpose(conn, chain_id, own)
    rivals = [] if purpose is None else await fetch(conn, "payments/reconcile/rivals", **purpose)
    return UnrecordedUse(use, purpose, {row["id"]: row["job_id"] for row in rivals})


async def record(conn: AsyncConnection[Any], chain_id: int, unrecorded: UnrecordedUse) -> Recorded:
    """Store a final transaction of a sender of ours that was missing: as the payment that it was, with a job of its
    own, and what it supersedes is decided anew; else its nonce as lost, and its sender is frozen (not for what an
    operator has released). Run under the locks of the jobs and payments that it supersedes, after ``count_sender``."""
    use, sender, nonce = unrecorded.use, unrecorded.use.sender, unrecorded.use.nonce
    await fetch(conn, "payments/lock_sender", chain_id=chain_id, sender=sender)
    known = await fetch(conn, "payments/reconcile/nonce_state", chain_id=chain_id, sender=sender, nonce=nonce)
    if known and known[0]["state"] not in ("void", "lost"):
        return Recorded(None, f"nonce {nonce} is {known[0]['state']} meanwhile: tx {use.txid} is not recorded with it")
    if unrecorded.purpose is None or use.result is None:
        return await _record_loss(conn, chain_id, use)
    result, kind = use.result, unrecorded.purpose["kind"]
    if kind == Kind.GAS:
        # Rejecting and recording both change the gas spending: alone, as whoever asks for gas.
        await fetch(conn, "payments/lock_gas", chain_id=chain_id)
    reason = f"a {kind} of this wallet was found on the chain (tx {result.txid}): decided anew"
    await fetch(conn, "payments/reconcile/supersede", transfer_ids=list(unrecorded.superseded), reason=reason)
    transfer_id = await _record_payment(conn, chain_id, unrecorded.purpose, result)
    said = f"tx {result.txid} of {sender} in final block {result.block.number} was a {kind} of ours"
    return Recorded(transfer_id, f"{said} that was not recorded in the database: it is transfer {transfer_id} now")


async def _record_loss(conn: AsyncConnection[Any], chain_id: int, use: NonceUse) -> Recorded:
    """A nonce that was used by no payment of ours."""
    sender = {"chain_id": chain_id, "sender": use.sender}
    await fetch(conn, "payments/reconcile/lose_nonce", **sender, nonce=use.nonce, txid=use.txid)
    said = f"{use}{_what_it_did(use)}"
    if use.result is not None:
        await fetch(conn, "payments/reconcile/freeze_sender", **sender, reason=said)
    return Recorded(None, said)


async def _record_payment(
    conn: AsyncConnection[Any], chain_id: int, purpose: DictRow, result: TransactionResult
) -> int:
    """A payment with its job, its nonce, its transaction and its end."""
    (effect,) = result.effects
    kind = Kind(purpose["kind"])
    job_id = None
    if kind is not Kind.GAP:
        job_id = await fetch_value(
            conn,
            "payments/reconcile/record_job",
            job_type=_JOB_TYPES[kind],
            wallet_id=purpose["wallet_id"],
            txid=result.txid,
            block_number=result.block.number,
            amount=str(effect.amount),
            fee=str(result.fee),
        )
    transfer_id: int = await fetch_value(
        conn,
        "payments/reconcile/record_transfer",
        kind=kind,
        job_id=job_id,
        chain_id=chain_id,
        wallet_id=purpose["wallet_id"],
        asset_id=purpose["asset_id"],
        sender=effect.sender,
        receiver=effect.receiver,
        amount=effect.amount,
        txid=result.txid,
    )
    nonce = {"chain_id": chain_id, "sender": result.sender, "nonce": result.nonce}
    await fetch(conn, "payments/reconcile/take_nonce", transfer_id=transfer_id, **nonce)
    found = await _record_attempt(conn, transfer_id, result)
    assert found is not None  # noqa: S101 - it was just requested
    await end(conn, [Ended(found, transfer_id, result.fee, Judged(TransferState.FINAL, place=effect.place))])
    return transfer_id


async def _purpose(conn: AsyncConnection[Any], chain_id: int, result: TransactionResult) -> DictRow | None:
    if not result.success or len(result.effects) != 1:
        return None
    (effect,) = result.effects
    # A token's transfer of nothing has the form of a payment, and no payment of ours is of nothing.
    if effect.sender != result.sender or effect.amount <= 0:
        return None
    rows = await fetch(
        conn,
        "payments/reconcile/purpose",
        chain_id=chain_id,
        contract=effect.contract,
        sender=effect.sender,
        receiver=effect.receiver,
        amount=effect.amount,
        gap_amount=GAP_AMOUNT,
        txid=result.txid,
    )
    return rows[0] if len(rows) == 1 else None


async def _record_attempt(conn: AsyncConnection[Any], transfer_id: int, result: TransactionResult) -> int | None:
    found: int | None = await fetch_value(
        conn,
        "payments/reconcile/record_found",
        transfer_id=transfer_id,
        txid=result.txid,
        sender=result.sender,
        nonce=result.nonce,
        fee=result.fee,
        block_number=result.block.number,
        block_id=result.block.id,
        block_time=result.block.timestamp,
    )
    return found


def _what_it_did(use: NonceUse) -> str:
    """Of a transaction that made no payment of ours: the end of a sentence about it."""
    result = use.result
    if result is None:
        return ""
    if not result.success:
        return f", which failed ({result.message or 'no reason given'})"
    if not result.effects:
        return ", which moved nothing that is to be seen"
    moved = [f"{one.amount} raw units of {one.contract or 'the coin'} to {one.receiver}" for one in result.effects]
    return f", which moved {', '.join(moved)}"
