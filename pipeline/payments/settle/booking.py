"""The steps in which the chain's decisions are booked, each within a transaction that a store has opened.

Everybody locks in the same order, job, payment, attempt. Nothing here reads a chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from pipeline.chains.values import BlockRef, TransactionResult
from pipeline.db.rows import fetch
from pipeline.payments.authority import GAP_AMOUNT
from pipeline.payments.intents import Kind, LiveAttempt
from pipeline.payments.reconcile.nonce_uses import NonceUse
from pipeline.payments.settle.effect import Judged, judge
from pipeline.payments.states import TransferState
from pipeline.queue.jobs import JobType

_JOB_TYPES = {Kind.GAS: JobType.GAS_TOPUP, Kind.CONSOLIDATION: JobType.CONSOLIDATION}


@dataclass(frozen=True, slots=True)
class Finding:
    """A live attempt found in a final block."""

    attempt: LiveAttempt
    result: TransactionResult

    @property
    def judged(self) -> Judged:
        """How its payment ends."""
        return judge(self.attempt.payment, self.result)


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a nonce was used, and by what."""

    user: NonceUse
    """In a final block."""
    read: BlockRef
    """All final blocks up to here were read, and that is in the books."""

    @property
    def finalized(self) -> int:
        """How many transactions of the sender are final at least."""
        return self.user.nonce + 1


@dataclass(frozen=True, slots=True)
class Accounted:
    """What the books say now of a transaction of ours that they did not know."""

    transfer_id: int | None
    """The payment that it was; None: no payment like ours, and its sender is held."""
    said: str
    """For people."""
    given_up: tuple[str, ...] = ()
    """Jobs that failed with it, each with the reason."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """What used a nonce of a sender of ours in a final block, and is not recorded."""

    use: NonceUse
    purpose: DictRow | None
    """Kind, wallet and asset of the payment that it was; None: no payment like ours."""
    rivals: Mapping[int, UUID]
    """Payments of the same wallet, asset and kind that are asked for and not out, with their jobs."""


async def lock(conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt], stranger: Stranger | None = None) -> None:
    """The jobs; the payments too where somebody may add an attempt to one that is out, and some have no job."""
    rivals = {} if stranger is None else stranger.rivals
    await fetch(conn, "payments/lock_jobs", job_ids=[*_jobs(attempts), *rivals.values()])
    numbered = [attempt.transfer_id for attempt in attempts if attempt.signed.nonce is not None]
    if numbered or rivals:
        await fetch(conn, "payments/lock_transfers", transfer_ids=[*numbered, *rivals])


async def include(conn: AsyncConnection[Any], seen: Sequence[tuple[LiveAttempt, BlockRef]]) -> set[int]:
    """Mark attempts as included in the block where each was seen; the ids that moved."""
    rows = await fetch(
        conn,
        "payments/settle/include",
        attempt_ids=[attempt.id for attempt, _ in seen],
        numbers=[block.number for _, block in seen],
        block_ids=[block.id for _, block in seen],
        times=[block.timestamp for _, block in seen],
    )
    return {row["id"] for row in rows}


async def settle(conn: AsyncConnection[Any], findings: Sequence[Finding]) -> list[DictRow]:
    """End payments that were found in final blocks, and their jobs with them. Takes the locks."""
    await lock(conn, [finding.attempt for finding in findings])
    await include(conn, [(finding.attempt, finding.result.block) for finding in findings])
    rows = await _end(conn, [(one.attempt.id, one.result.fee, one.judged) for one in findings])
    await release_jobs(conn, [finding.attempt for finding in findings])
    return rows


async def release_jobs(conn: AsyncConnection[Any], attempts: Sequence[LiveAttempt]) -> list[str]:
    """A statement of its own, because it looks at what the ones before it wrote. Returns the jobs that are given up
    because what they signed is refused, or lands in no block, again and again: each with the reason."""
    rows = await fetch(conn, "payments/settle/release_jobs", job_ids=_jobs(attempts))
    return [f"{row['job_id']}: {row['error']}" for row in rows if row["outcome"] == "given up"]


async def count_sender(conn: AsyncConnection[Any], chain_id: int, proof: Proof) -> None:
    """Record how many transactions of a sender are final: no proof of death and nothing found is booked without."""
    await fetch(
        conn,
        "payments/settle/count_sender",
        chain_id=chain_id,
        sender=proof.user.sender,
        finalized=proof.finalized,
        final_block=proof.read.number,
    )


async def settle_found(conn: AsyncConnection[Any], payment: Sequence[LiveAttempt], proof: Proof) -> list[DictRow]:
    """End a payment by a transaction that did it and is none of its attempts. Takes the locks; no row: the payment is
    not out any more."""
    await lock(conn, payment)
    result = proof.user.result
    assert result is not None  # noqa: S101 - it made the payment
    found = await _record_found(conn, payment[0].transfer_id, result)
    if found is None:
        return []
    rows = await _end(conn, [(found, result.fee, judge(payment[0].payment, result))])
    await release_jobs(conn, payment)
    return rows


async def identify(conn: AsyncConnection[Any], chain_id: int, use: NonceUse) -> Stranger:
    """What a transaction of a sender of ours was for, and which payments it makes superfluous. Takes no lock."""
    own = use.result if use.delegate is None else None
    purpose = None if own is None else await _purpose(conn, chain_id, own)
    rivals = [] if purpose is None else await fetch(conn, "payments/reconcile/rivals", **purpose)
    return Stranger(use, purpose, {row["id"]: row["job_id"] for row in rivals})


async def account_for(conn: AsyncConnection[Any], chain_id: int, stranger: Stranger) -> Accounted:
    """Take a final transaction of a sender of ours, which they do not know, into the books: as the payment that it was,
    with a job of its own, and what was asked for before is decided anew; else as a stranger's, and its sender is held
    for people (not for what they have vouched for). Run under the locks of the jobs and payments that it makes
    superfluous, once its count is recorded (``count_sender``)."""
    use, sender, nonce = stranger.use, stranger.use.sender, stranger.use.nonce
    await fetch(conn, "payments/lock_sender", chain_id=chain_id, sender=sender)
    known = await fetch(conn, "payments/reconcile/nonce_state", chain_id=chain_id, sender=sender, nonce=nonce)
    if known and known[0]["state"] not in ("void", "lost"):
        return Accounted(
            None, f"nonce {nonce} is {known[0]['state']} meanwhile: tx {use.txid} is somebody else's concern"
        )
    if stranger.purpose is None or use.result is None:
        await fetch(conn, "payments/reconcile/lose_nonce", chain_id=chain_id, sender=sender, nonce=nonce, txid=use.txid)
        said = f"{use}{_told(use)}"
        if use.result is not None:
            await fetch(conn, "payments/reconcile/hold_sender", chain_id=chain_id, sender=sender, reason=said)
        return Accounted(None, said)
    result = use.result
    kind = stranger.purpose["kind"]
    if kind == Kind.GAS:
        # Giving up and taking in both change what was spent: alone, as whoever asks for gas.
        await fetch(conn, "payments/lock_gas", chain_id=chain_id)
    reason = f"a {kind} of this wallet was found on the chain (tx {result.txid}): decided anew"
    await fetch(conn, "payments/reconcile/supersede", transfer_ids=list(stranger.rivals), reason=reason)
    transfer_id = await _adopt(conn, chain_id, stranger.purpose, result)
    said = f"tx {result.txid} of {sender} in final block {result.block.number} was a {kind} of ours"
    return Accounted(transfer_id, f"{said} that the books had lost: taken in as transfer {transfer_id}")


async def _adopt(conn: AsyncConnection[Any], chain_id: int, purpose: DictRow, result: TransactionResult) -> int:
    """A payment with its job, its nonce, its transaction and its end."""
    (effect,) = result.effects
    kind = Kind(purpose["kind"])
    job_id = None
    if kind is not Kind.GAP:
        rows = await fetch(
            conn,
            "payments/reconcile/adopt_job",
            job_type=_JOB_TYPES[kind],
            wallet_id=purpose["wallet_id"],
            txid=result.txid,
            block_number=result.block.number,
            amount=str(effect.amount),
            fee=str(result.fee),
        )
        job_id = rows[0]["id"]
    (transfer,) = await fetch(
        conn,
        "payments/reconcile/adopt_transfer",
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
    await fetch(conn, "payments/reconcile/take_nonce", transfer_id=transfer["id"], **nonce)
    found = await _record_found(conn, transfer["id"], result)
    assert found is not None  # noqa: S101 - it was just requested
    await _end(conn, [(found, result.fee, Judged(TransferState.FINAL))])
    return int(transfer["id"])


async def _purpose(conn: AsyncConnection[Any], chain_id: int, result: TransactionResult) -> DictRow | None:
    if not result.success or len(result.effects) != 1:
        return None
    (effect,) = result.effects
    # A token's transfer of nothing has the form of a payment, and the books have none of nothing.
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


async def _record_found(conn: AsyncConnection[Any], transfer_id: int, result: TransactionResult) -> int | None:
    rows = await fetch(
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
    return int(rows[0]["id"]) if rows else None


async def _end(conn: AsyncConnection[Any], ended: Sequence[tuple[int, int, Judged]]) -> list[DictRow]:
    """Attempts with the fees they cost, and how their payments end."""
    return await fetch(
        conn,
        "payments/settle/settle",
        attempt_ids=[attempt for attempt, _, _ in ended],
        states=[judged.state.value for _, _, judged in ended],
        fees=[fee for _, fee, _ in ended],
        errors=[judged.error for _, _, judged in ended],
        arrived=[judged.arrived for _, _, judged in ended],
    )


def _told(use: NonceUse) -> str:
    """What a transaction did of which the sender made no payment of ours: the end of a sentence about it."""
    result = use.result
    if result is None:
        return ""
    if not result.success:
        return f", which failed ({result.message or 'no reason given'})"
    if not result.effects:
        return ", which moved nothing that we can see"
    moved = [f"{one.amount} raw units of {one.contract or 'the coin'} to {one.receiver}" for one in result.effects]
    return f", which moved {', '.join(moved)}"


def _jobs(attempts: Sequence[LiveAttempt]) -> list[UUID]:
    return [attempt.job for attempt in attempts if attempt.job is not None]
