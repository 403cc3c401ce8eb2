"""Signatures that belong to no batch, in the database: those that nobody follows, replacements, gaps and refusals.

Each method is one commit, and none asks anybody for a signature.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from loguru import logger
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.kinds import Kind
from pipeline.chains.values import SignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.requests import OpenRequest, UnreadableRequest
from pipeline.payments.send.asks import Ask
from pipeline.payments.send.refusals import LeaseLost, StateChanged, refusals
from pipeline.payments.send.request_rows import ToSign, insert_requests
from pipeline.queue.jobs import Job

_AT_ONCE = 200
"""Requests a round; the next follows."""


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
                wanted = ToSign(ask, transfer_id, bundle, job, old.nonce, replaces, old.raw)
                (request,) = await insert_requests(conn, [wanted])
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
                wanted = ToSign(ask, gap["id"], gap["bundle_id"], None, given["nonce"])
                (request,) = await insert_requests(conn, [wanted])
                crash_here(CrashPoint.GAP_OPEN)
        crash_here(CrashPoint.GAP_ASKED)
        return request

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
