"""Payments in the database, for the processes that send them: what is known of jobs, and what is given up.

No method talks to a chain, and none is called with a transaction open. A step that belongs to an attempt of a
job first locks the job's row and checks that the attempt still holds it (:class:`LeaseLost` otherwise); everybody
locks in the same order (``payments``), so that a sender and a settlement cannot deadlock.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.kinds import Kind
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.intents import Context
from pipeline.payments.requests import UnreadableRequest
from pipeline.payments.send.gas_funds import Promised
from pipeline.payments.send.refusals import LeaseLost, StateChanged
from pipeline.payments.store import PaymentStore
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Job
from pipeline.units import parse_raw

Of = TypeVar("Of")


class TransferStore(PaymentStore):
    """Payments in the database, for the processes that send them."""

    async def terms(self, chain_id: int) -> Terms:
        """The chain's rules at this moment."""
        return Terms.from_rows(await self._rows("payments/send/terms", chain_id=chain_id))

    async def contexts(self, jobs: Sequence[Job], kind: Kind) -> dict[UUID, Context | UnreadableRequest]:
        """What is known of each job, by job, or why that cannot be read; a job whose wallet is gone is not in it."""
        rows = await self._rows("payments/send/context", job_ids=[job.id for job in jobs], kind=kind)
        return {job: _context(list(of_job)) for job, of_job in groupby(rows, key=lambda row: row["job_uuid"])}

    async def gas_in_flight(self, chain_id: int, gas_address: str, deciding: Sequence[UUID]) -> Promised:
        """What the gas wallet owes, to be read before its balance."""
        parameters = {"chain_id": chain_id, "gas_address": gas_address, "job_ids": list(deciding)}
        (row,) = await self._rows("payments/send/gas_in_flight", **parameters)
        return Promised(parse_raw(row["promised"]), row["unsigned"], row["newest"])

    async def flag_needs_gas(self, wallet_id: UUID) -> None:
        """Gas first: raise needs_gas, which notifies the gas listener."""
        await self._rows("payments/send/flag_needs_gas", wallet_id=wallet_id)

    async def request_reconciliation(self, chain_id: int, sender: str, counted: int) -> None:
        """A node shows more transactions of a sender than are recorded: the confirmation worker reconciles it."""
        async with self.pool.connection() as conn, conn.transaction():
            await fetch(conn, "payments/send/request_reconciliation", chain_id=chain_id, sender=sender, counted=counted)
            crash_here(CrashPoint.RECONCILE_OPEN)
        crash_here(CrashPoint.RECONCILE_AFTER)

    async def park(self, job: Job, transfer_id: int) -> None:
        """Hand a job back to the confirmation worker because its payment is out already. Raises LeaseLost,
        StateChanged."""
        async with step_of(self.pool, job) as conn:
            if not await fetch(conn, "payments/send/park", job_uuid=job.id, transfer_id=transfer_id):
                raise StateChanged(f"transfer {transfer_id} is not on its way any more")

    async def reject(self, job: Job, transfer_id: int, reason: str) -> None:
        """Give up a payment that nobody is asked to sign. Raises LeaseLost, StateChanged."""
        async with step_of(self.pool, job) as conn:
            parameters = {"job_uuid": job.id, "transfer_id": transfer_id, "reason": reason}
            if not await fetch(conn, "payments/send/reject", **parameters):
                raise StateChanged(f"transfer {transfer_id} may be signed or on its way, or is settled")
            crash_here(CrashPoint.REJECT_OPEN)
        crash_here(CrashPoint.REJECT_AFTER)

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self.pool.connection() as conn:
            return await fetch(conn, name, **parameters)


def _context(rows: Sequence[DictRow]) -> Context | UnreadableRequest:
    try:
        return Context.from_rows(rows)
    except UnreadableRequest as unreadable:
        return unreadable


async def lost_leases(conn: AsyncConnection[Any], jobs: Mapping[Of, Job]) -> dict[Of, LeaseLost]:
    """Lock the rows of jobs until commit; which attempts do not hold theirs any more."""
    if not jobs:
        return {}
    rows = await fetch(conn, "payments/send/lock_jobs", job_ids=[job.id for job in jobs.values()])
    leases = {row["id"]: row["lease"] for row in rows}
    return {
        of: LeaseLost(f"job {job.job_id}: lease {job.lease} was lost, nothing was done")
        for of, job in jobs.items()
        if leases.get(job.id) != job.lease
    }


@asynccontextmanager
async def step_of(pool: AsyncConnectionPool[Any], job: Job) -> AsyncIterator[AsyncConnection[Any]]:
    """One transaction under the lock of the job's row, if the attempt still holds it. Raises LeaseLost."""
    async with pool.connection() as conn, conn.transaction():
        if not await fetch(conn, "payments/send/lock_job", job_uuid=job.id, lease=job.lease):
            raise LeaseLost(f"job {job.job_id}: lease {job.lease} was lost, nothing was done")
        yield conn
