"""The two commits of a signature in the database; each method is one of them, and none asks anybody for a signature.

ask       intents, nonce and request                        → a signature may be asked for
keep      bytes, attempts, payments on their way, the job   → the bytes may be sent
refuse    nothing was signed: the nonce is given back
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from loguru import logger
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.fees import Parameters
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Payment, SignedTransaction, UnsignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import FIRST, CrashPoint, Passage, crash_here
from pipeline.payments.requests import OpenRequest, UnreadableRequest, parameters_column
from pipeline.payments.send.gas_funds import GasFunds, check_gas_funds
from pipeline.payments.send.refusals import LeaseLost, StateChanged, StepRefused, refusals
from pipeline.payments.send.store import step_of
from pipeline.queue.jobs import Job

_AT_ONCE = 200
"""Requests a round; the next follows."""

Place = Callable[[int | None], tuple[Parameters, UnsignedTransaction]]
"""The bytes with a nonce; None where transactions have none. Asks nobody: it is called with a transaction open."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One payment that asks for a signature, with everything decided but its nonce (EVM)."""

    kind: Kind
    asset_id: UUID
    payment: Payment
    fee: int
    """The most that its transaction is to cost, native raw units: budgets count it with the amount."""
    place: Place
    wallet_id: UUID | None
    wallet_index: int | None
    wallet: str
    transfer_id: int | None = None
    """An intent of its job that goes on. None: it is written."""
    gas_funds: GasFunds | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that answer a request."""

    request: OpenRequest
    signed: SignedTransaction


@dataclass(frozen=True, slots=True)
class Ready:
    """Signed bytes that may be sent."""

    attempt_id: int
    request: OpenRequest
    signed: SignedTransaction


class RequestStore:
    """Signatures that are asked for."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def open(self, chain_id: int, kinds: Sequence[Kind], sender: str | None = None) -> list[OpenRequest]:
        """Requests that nobody is about to keep, of a sender who is to pay now, or of all; lowest nonces first."""
        parameters = {"chain_id": chain_id, "kinds": list(kinds), "sender": sender, "limit": _AT_ONCE}
        async with self._pool.connection() as conn:
            rows = await fetch(conn, "payments/send/open_requests", **parameters)
        found: list[OpenRequest] = []
        for row in rows:
            try:
                found.append(OpenRequest.from_row(row))
            except UnreadableRequest as unreadable:
                logger.error("{}", unreadable)
        return found

    async def ask(self, job: Job, asks: Sequence[Ask], counted: int | None) -> list[OpenRequest]:
        """The first commit for payments of one sender, in order; what the database refuses after the first is left out,
        and all behind it. ``counted`` is how many transactions of the sender a node showed before, in blocks or in
        its pool; None: they are not numbered.

        Raises LeaseLost, StateChanged (paid already, or a payment is under way), MayStillLand, GasFundsShort,
        CooldownActive, BudgetExhausted, UnusualFee, UnknownTransactions, UnfinishedNonce, SenderFrozen, SenderStuck."""
        crash_here(CrashPoint.REQUEST_BEFORE)
        opened: list[OpenRequest] = []
        with refusals():
            async with step_of(self._pool, job) as conn:
                if counted is not None:
                    await fetch(conn, "payments/lock_sender", chain_id=job.chain_id, sender=asks[0].payment.sender)
                for ask in asks:
                    try:
                        with refusals():
                            async with conn.transaction() if len(asks) > 1 else nullcontext():
                                opened.append(await self._ask(conn, job, ask, counted))
                    except StepRefused as refused:
                        if not opened:
                            raise
                        logger.warning("{}: {} is left for later: {}", job, ask.payment.asset.symbol, refused)
                        break
                crash_here(CrashPoint.REQUEST_OPEN)
        crash_here(CrashPoint.REQUEST_AFTER)
        return opened

    async def write_intents(self, job: Job, asks: Sequence[Ask]) -> None:
        """Intents alone, for which no signature can be asked before the confirmation worker has found out what their
        sender did: what it finds may be these very payments. Raises as ``ask``."""
        with refusals():
            async with step_of(self._pool, job) as conn:
                for ask in asks:
                    await self._intent(conn, job, ask)

    async def _ask(self, conn: AsyncConnection[Any], job: Job, ask: Ask, counted: int | None) -> OpenRequest:
        intent = await self._intent(conn, job, ask)
        nonce = None
        if counted is not None:
            (reserved,) = await fetch(
                conn, "payments/send/reserve_nonce", bundle_id=intent["bundle_id"], counted=counted
            )
            nonce = reserved["nonce"]
            if nonce is None:
                raise StateChanged(f"transfer {intent['id']} cannot be signed any more")
            crash_here(CrashPoint.RESERVE_OPEN)
        return await _insert(conn, ask, intent["id"], intent["bundle_id"], job.id, nonce)

    async def _intent(self, conn: AsyncConnection[Any], job: Job, ask: Ask) -> DictRow:
        if ask.gas_funds is not None:
            await check_gas_funds(conn, job.chain_id, ask.payment, ask.gas_funds)
        if ask.transfer_id is not None:
            rows = await fetch(conn, "payments/send/ask_again", transfer_id=ask.transfer_id, job_uuid=job.id)
        else:
            rows = await fetch(
                conn,
                "payments/send/request",
                job_uuid=job.id,
                kind=ask.kind,
                asset_id=ask.asset_id,
                from_address=ask.payment.sender,
                to_address=ask.payment.receiver,
                amount=ask.payment.amount,
                fee_reserved=ask.fee,
            )
        if not rows:
            raise StateChanged(
                f"job {job.job_id}: paid already, or another {ask.kind} payment of its wallet is under way"
            )
        return rows[0]

    async def ask_replacement(
        self, ask: Ask, transfer_id: int, bundle: int, job: UUID | None, replaces: int, old: SignedTransaction
    ) -> OpenRequest:
        """The first commit for a replacement of attempt ``replaces``. Raises StateChanged, BudgetExhausted,
        UnusualFee."""
        crash_here(CrashPoint.REPLACE_BEFORE)
        with refusals():
            async with self._locked([] if job is None else [job], [transfer_id]) as conn:
                rows = await fetch(
                    conn, "payments/send/replaceable", transfer_id=transfer_id, bundle_id=bundle, replaces=replaces
                )
                if not rows:
                    raise StateChanged(f"transfer {transfer_id} is not to be replaced any more")
                request = await _insert(conn, ask, transfer_id, bundle, job, old.nonce, replaces, old.raw)
                crash_here(CrashPoint.REPLACE_OPEN)
        crash_here(CrashPoint.REPLACE_ASKED)
        return request

    async def ask_gap(self, ask: Ask, chain_id: int, nonce_id: int) -> OpenRequest:
        """The first commit of a payment of a sender to itself. Raises StateChanged: the nonce is not void any more;
        BudgetExhausted, UnusualFee."""
        crash_here(CrashPoint.GAP_BEFORE)
        with refusals():
            async with self._pool.connection() as conn, conn.transaction():
                await fetch(conn, "payments/lock_sender", chain_id=chain_id, sender=ask.payment.sender)
                rows = await fetch(
                    conn,
                    "payments/send/request_gap",
                    nonce_id=nonce_id,
                    asset_id=ask.asset_id,
                    amount=ask.payment.amount,
                    fee_reserved=ask.fee,
                )
                if not rows:
                    raise StateChanged(f"a nonce of {ask.payment.sender} is not to be filled any more")
                (gap,) = rows
                (given,) = await fetch(conn, "payments/send/reserve_gap", nonce_id=nonce_id, bundle_id=gap["bundle_id"])
                request = await _insert(conn, ask, gap["id"], gap["bundle_id"], None, given["nonce"])
                crash_here(CrashPoint.GAP_OPEN)
        crash_here(CrashPoint.GAP_ASKED)
        return request

    async def keep(
        self,
        kept: Sequence[Kept],
        job: Job | None = None,
        not_sent: Mapping[str, str] | None = None,
        passage: Passage = FIRST,
    ) -> list[Ready]:
        """The second commit: keep the bytes as attempts, on their way, and hand their jobs over. Only then may they be
        sent. ``job`` still has to hold its lease; None: whoever holds it, it is taken over. ``not_sent`` is what the
        job could not pay, reasons by symbol.

        Raises LeaseLost, StateChanged: somebody else has kept or refused one of them."""
        data = None if job is None else Jsonb({"not_sent": not_sent} if not_sent else {})
        requests = {one.request.id: one for one in kept}
        jobs = [one.request.job for one in kept if one.request.job is not None]
        async with self._locked(jobs, [one.request.transfer for one in kept], job) as conn:
            if job is not None and jobs != [job.id] * len(kept):
                raise StateChanged(f"job {job.job_id} may hand over its own payments only")
            rows = await fetch(
                conn,
                "payments/send/keep",
                request_ids=list(requests),
                txids=[one.signed.txid for one in kept],
                signed_bytes=[one.signed.raw for one in kept],
                data=data,
            )
            if len(rows) != len(kept):
                raise StateChanged(f"requests {', '.join(map(str, requests))} are not all open any more")
            crash_here(passage.keep_open)
        crash_here(passage.kept)
        attempts = {row["request_id"]: row["id"] for row in rows}
        return [Ready(attempts[one.request.id], one.request, one.signed) for one in kept]

    async def refuse(self, request: OpenRequest, reason: str, *, reject: bool, job: Job | None = None) -> bool:
        """Nothing was signed for a request, and nothing will be: its nonce is given back. ``reject``: its payment is
        given up as well, else it is decided anew. False: it was kept or refused meanwhile. Raises LeaseLost."""
        jobs = [] if request.job is None else [request.job]
        async with self._locked(jobs, [request.transfer], job) as conn:
            rows = await fetch(conn, "payments/send/refuse", request_id=request.id, reason=reason)
            if not rows:
                return False
            if request.replaces is not None:
                await fetch(conn, "payments/send/decline_replacement", transfer_id=request.transfer, reason=reason)
            else:
                # Before what is spent on gas changes, which whoever pays next locks after the nonces of the sender.
                await fetch(conn, "payments/send/lock_nonces", bundle_id=request.bundle)
                if reject or request.kind is Kind.GAP:
                    await fetch(conn, "payments/send/reject_bundle", bundle_id=request.bundle, reason=reason)
                await fetch(conn, "payments/send/give_back_nonce", bundle_id=request.bundle)
            crash_here(CrashPoint.REFUSE_OPEN)
        crash_here(CrashPoint.REFUSE_AFTER)
        return True

    @asynccontextmanager
    async def _locked(
        self, jobs: Sequence[UUID], transfers: Sequence[int], job: Job | None = None
    ) -> AsyncIterator[AsyncConnection[Any]]:
        """One transaction under the locks of jobs and payments; of ``job`` only if the attempt still holds it."""
        async with self._pool.connection() as conn, conn.transaction():
            if job is not None:
                rows = await fetch(conn, "payments/send/lock_job", job_uuid=job.id, lease=job.lease)
                if not rows:
                    raise LeaseLost(f"job {job.job_id}: lease {job.lease} was lost, nothing was done")
            else:
                await fetch(conn, "payments/lock_jobs", job_ids=list(jobs))
            await fetch(conn, "payments/lock_transfers", transfer_ids=list(transfers))
            yield conn


async def _insert(
    conn: AsyncConnection[Any],
    ask: Ask,
    transfer_id: int,
    bundle: int,
    job: UUID | None,
    nonce: int | None,
    replaces: int | None = None,
    replaced: bytes | None = None,
) -> OpenRequest:
    """Ask for a signature, within a transaction. Raises StateChanged."""
    parameters, unsigned = ask.place(nonce)
    rows = await fetch(
        conn,
        "payments/send/ask",
        bundle_id=bundle,
        replaces=replaces,
        nonce=unsigned.nonce,
        ref_block=unsigned.ref_block,
        expiration=unsigned.expiration,
        parameters=Jsonb(parameters_column(parameters)),
        unsigned_bytes=unsigned.raw,
        fee_cap=unsigned.fee_cap,
    )
    if not rows:
        raise StateChanged(f"transfer {transfer_id} is not to be signed: its wallet was edited")
    return OpenRequest(
        id=rows[0]["request_id"],
        bundle=bundle,
        kind=ask.kind,
        transfer=transfer_id,
        asset_id=ask.asset_id,
        job=job,
        wallet_id=ask.wallet_id,
        wallet_index=ask.wallet_index,
        wallet=ask.wallet,
        payment=ask.payment,
        parameters=parameters,
        unsigned=unsigned.raw,
        replaces=replaced,
        is_over=False,
        is_wanted=True,
    )
