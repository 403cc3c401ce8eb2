"""The steps of the money protocol as the database takes them: each method is one commit.

No method talks to a chain, and none is called with a transaction open. A step that belongs to an attempt of a
job first locks the job's row and checks that the attempt still holds it (:class:`LeaseLost` otherwise); everybody
locks in the same order, job, payment, attempt, so that a sender and a settlement cannot deadlock.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from pipeline.chains.values import Payment, SignedTransaction
from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.intents import Context, Kind
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Job
from pipeline.units import parse_raw

_REFUSALS = frozenset({"FP", "22", "23", "40", "42", "55"})
"""Classes of SQLSTATE: our own guards, data and constraints, deadlocks, rights, locks that were not given."""


class StepRefused(Exception):
    """The database did not let a step happen; nothing changed."""


class LeaseLost(StepRefused):
    """The attempt no longer holds its job: rescued, cancelled, or handed over to the confirmation worker."""


class MovedOn(StepRefused):
    """The payment is in another state than this step starts from: somebody else has taken it further."""


class CooldownActive(StepRefused):
    """The gas cooldown of the wallet has not passed."""

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.seconds = max(0.0, (until - datetime.now(UTC)).total_seconds())
        """Until a top-up is possible."""


class MayStillLand(StepRefused):
    """Bytes of an earlier payment were given up, and cannot be known not to be out: the next one waits."""


class PurseShort(StepRefused):
    """The gas wallet has been asked for more than it holds."""

    def __init__(self, available: int) -> None:
        super().__init__(f"{available} native raw units are left to give")
        self.available = available


class BudgetExhausted(StepRefused):
    """A gas limit would be passed; the message names it."""


class UnusualFee(StepRefused):
    """A transaction could cost many times what payments of its kind cost lately; the message says how much."""


class UnknownTransactions(StepRefused):
    """The chain, or a node's pool, shows transactions of a sender that the books do not know."""


class SenderStuck(StepRefused):
    """What a sender has sent does not get into a block, or cannot be looked into: nothing new is signed behind it."""


class SenderHeld(StepRefused):
    """A sender did what is no payment of ours: a person has to look before it pays again, or is given gas."""


def refused_by_guard(error: Exception) -> bool:
    """Whether it was one of our triggers or functions that said no (they have SQLSTATE class FP), and no outage."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("FP")


def kept_nothing(error: Exception) -> bool:
    """Whether the database has refused a step for certain, so that nothing of its transaction stands. Where the
    connection was lost, or the server ends, nobody knows what became of a commit."""
    if isinstance(error, StepRefused):
        return True
    return isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in _REFUSALS


@dataclass(frozen=True, slots=True)
class Promised:
    """What a gas wallet owes at one moment."""

    amount: int
    """Native raw units, with the fees of what is signed."""
    unsigned: int
    """Payments whose fees are not among it."""
    newest: int
    """Id of the last top-up that was known then."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What a gas wallet has to give, native raw units, and the fee that one more payment costs."""

    available: int
    fee: int
    newest: int
    """Id of the last top-up that ``available`` knows of."""


Sign = Callable[[int], Awaitable[SignedTransaction]]
"""Signs a payment with that nonce. Asks nobody over a network: it is called with a transaction open."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A payment with everything decided but its nonce (EVM)."""

    transfer_id: int
    sign: Sign


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Signed bytes that may be sent."""

    attempt_id: int
    signed: SignedTransaction


class TransferStore:
    """Payments in the database, for the processes that send them."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def terms(self, chain_id: int) -> Terms:
        """The chain's rules at this moment."""
        return Terms.from_rows(await self._rows("payments/send/terms", chain_id=chain_id))

    async def contexts(self, jobs: Sequence[Job], kind: Kind) -> dict[UUID, Context]:
        """What is known of each job, by job; a job whose wallet is gone is not in it."""
        rows = await self._rows("payments/send/context", job_ids=[job.id for job in jobs], kind=kind)
        by_job = {job: list(of_job) for job, of_job in groupby(rows, key=lambda row: row["job_uuid"])}
        return {job: Context.from_rows(of_job) for job, of_job in by_job.items()}

    async def gas_in_flight(self, chain_id: int, gas_address: str, deciding: Sequence[UUID]) -> Promised:
        """What the gas wallet owes, to be read before its balance."""
        parameters = {"chain_id": chain_id, "gas_address": gas_address, "job_ids": list(deciding)}
        (row,) = await self._rows("payments/send/gas_in_flight", **parameters)
        return Promised(parse_raw(row["promised"]), row["unsigned"], row["newest"])

    async def flag_needs_gas(self, wallet_id: UUID) -> None:
        """Gas first: raise needs_gas, which rings the gas listener."""
        await self._rows("payments/send/flag_needs_gas", wallet_id=wallet_id)

    async def request(
        self, job: Job, kind: Kind, asset_id: UUID, payment: Payment, fee: int, purse: Purse | None = None
    ) -> int:
        """Write the intent down; returns its id. ``fee`` is the most that its transaction is to cost, native raw units:
        budgets count it with the amount. ``purse``: if the sender has that much to give, after all that others asked it
        for meanwhile.

        Raises LeaseLost, MovedOn (paid already, or a payment is under way), MayStillLand, PurseShort, CooldownActive,
        BudgetExhausted, SenderHeld (somebody else has the receiver's key).
        """
        crash_here(CrashPoint.REQUEST_BEFORE)
        try:
            async with self._step(job) as conn:
                if purse is not None:
                    await _check_purse(conn, job.chain_id, payment, purse)
                found: list[int] = await _ids(
                    conn,
                    "payments/send/request",
                    job_uuid=job.id,
                    kind=kind,
                    asset_id=asset_id,
                    from_address=payment.sender,
                    to_address=payment.receiver,
                    amount=payment.amount,
                    fee_reserved=fee,
                )
                if not found:
                    raise MovedOn(
                        f"job {job.job_id}: paid already, or another {kind} payment of its wallet is under way"
                    )
                crash_here(CrashPoint.REQUEST_OPEN)
        except errors.DatabaseError as error:
            refusal = _refusal_of_intent(error)
            if refusal is None:
                raise
            raise refusal from error
        crash_here(CrashPoint.REQUEST_AFTER)
        return found[0]

    async def record_signed(self, job: Job, transfer_id: int, signed: SignedTransaction) -> int:
        """Keep signed bytes that expire as the next attempt, before anything is sent; returns the attempt's id.

        Raises LeaseLost, MovedOn, BudgetExhausted, UnusualFee."""
        crash_here(CrashPoint.SIGN_BEFORE)
        with refusals_of_fees():
            async with self._step(job) as conn:
                attempt_id = await _keep(conn, job, transfer_id, signed)
        crash_here(CrashPoint.SIGN_AFTER)
        return attempt_id

    async def begin_broadcast(
        self, job: Job, attempt_ids: Sequence[int], not_sent: Mapping[str, str] | None = None
    ) -> None:
        """Pass the point of no return: attempts and payments are broadcasting, the job waits for the chain.

        ``not_sent`` is what the job could not pay, reasons by symbol. Only after this returns may the bytes be sent.
        Raises LeaseLost, MovedOn."""
        async with self._step(job) as conn:
            await _begin_broadcast(conn, job, attempt_ids, not_sent)
        crash_here(CrashPoint.BROADCAST_AFTER)

    async def hand_over(
        self, job: Job, drafts: Sequence[Draft], counted: int, not_sent: Mapping[str, str] | None = None
    ) -> list[HandedOver]:
        """The same in one commit for bytes with a nonce, which never expire: each payment gets its nonce, is signed and
        kept, and passes the point of no return. Only after this returns may the bytes be sent.

        A process that dies on the way leaves nothing behind: no nonce that later payments wait for, and no bytes of
        which only this database says that they never left. ``counted`` is how many transactions of the sender a node
        showed before, in blocks or in its pool. Raises LeaseLost, MovedOn, UnknownTransactions, SenderHeld,
        SenderStuck, BudgetExhausted, UnusualFee, and what a draft's signature raises."""
        kept = []
        holding = {"job_uuid": job.id, "lease": job.lease}
        try:
            async with self._pool.connection() as conn, conn.transaction():
                for draft in drafts:
                    reserved = await _ids(
                        conn, "payments/send/reserve_nonce", transfer_id=draft.transfer_id, counted=counted, **holding
                    )
                    if not reserved:
                        raise _lost(job)
                    (nonce,) = reserved
                    if nonce is None:
                        raise MovedOn(f"transfer {draft.transfer_id} cannot be signed any more")
                    crash_here(CrashPoint.RESERVE_OPEN)
                    signed = await draft.sign(nonce)
                    crash_here(CrashPoint.SIGN_BEFORE)
                    kept.append(HandedOver(await _keep(conn, job, draft.transfer_id, signed), signed))
                await _begin_broadcast(conn, job, [one.attempt_id for one in kept], not_sent)
        except errors.DatabaseError as error:
            match error.sqlstate:
                case "FP005":  # sql/functions/nonces: beyond what the books know
                    raise UnknownTransactions(_said(error)) from error
                case "FP006":  # sql/functions/nonces: held for people
                    raise SenderHeld(_said(error)) from error
                case "FP011":  # sql/functions/nonces: its line stands still
                    raise SenderStuck(_said(error)) from error
            with refusals_of_fees():
                raise
        crash_here(CrashPoint.BROADCAST_AFTER)
        return kept

    async def doubt(self, chain_id: int, sender: str, counted: int) -> None:
        """A node shows more transactions of a sender than the books know: the confirmation worker looks into it."""
        async with self._pool.connection() as conn, conn.transaction():
            await _ids(conn, "payments/send/doubt_sender", chain_id=chain_id, sender=sender, counted=counted)
            crash_here(CrashPoint.DOUBT_OPEN)
        crash_here(CrashPoint.DOUBT_AFTER)

    async def park(self, job: Job, transfer_id: int) -> None:
        """Hand a job back to the confirmation worker because its payment is out already. Raises LeaseLost, MovedOn."""
        async with self._step(job) as conn:
            if not await _ids(conn, "payments/send/park", job_uuid=job.id, transfer_id=transfer_id):
                raise MovedOn(f"transfer {transfer_id} is not on its way any more")

    async def reject(self, job: Job, transfer_id: int, reason: str) -> None:
        """Give up a payment that cannot land. Raises LeaseLost, MovedOn."""
        async with self._step(job) as conn:
            if not await _ids(conn, "payments/send/reject", job_uuid=job.id, transfer_id=transfer_id, reason=reason):
                raise MovedOn(f"transfer {transfer_id} may be on its way, or is settled")
            crash_here(CrashPoint.REJECT_OPEN)
        crash_here(CrashPoint.REJECT_AFTER)

    async def reject_orphans(self, chain_id: int, wallet_id: UUID | None = None) -> list[int]:
        """Give up payments that never left and whose jobs have finished; returns their ids."""
        async with self._pool.connection() as conn, conn.transaction():
            found = await _ids(conn, "payments/send/lock_orphans", chain_id=chain_id, wallet_id=wallet_id)
            if not found:
                return []
            return await _ids(conn, "payments/send/reject_orphans", transfer_ids=found)

    async def record_reply(self, attempt_id: int, reply: str) -> None:
        """Note a node's answer to a broadcast; it decides nothing."""
        async with self._pool.connection() as conn, conn.transaction():
            await fetch(conn, "payments/send/record_reply", attempt_id=attempt_id, reply=reply)
            crash_here(CrashPoint.REPLY_OPEN)
        crash_here(CrashPoint.REPLY_AFTER)

    @asynccontextmanager
    async def _step(self, job: Job) -> AsyncIterator[AsyncConnection[Any]]:
        """One transaction under the lock of the job's row, if the attempt still holds it."""
        async with self._pool.connection() as conn, conn.transaction():
            if not await _ids(conn, "payments/send/lock_job", job_uuid=job.id, lease=job.lease):
                raise _lost(job)
            yield conn

    async def _rows(self, name: str, **parameters: Any) -> list[DictRow]:
        async with self._pool.connection() as conn:
            return await fetch(conn, name, **parameters)


def _lost(job: Job) -> LeaseLost:
    return LeaseLost(f"job {job.job_id}: lease {job.lease} was lost, nothing was done")


def _said(error: errors.DatabaseError) -> str:
    return error.diag.message_primary or str(error)


@contextmanager
def refusals_of_fees() -> Iterator[None]:
    """Around the commit that keeps bytes: what they may cost is refused by the database as StepRefused."""
    try:
        yield
    except errors.DatabaseError as error:
        refusal = _refusal_of_fee(error)
        if refusal is None:
            raise
        raise refusal from error


def _refusal_of_fee(error: errors.DatabaseError) -> StepRefused | None:
    match error.sqlstate:
        case "FP002":  # triggers/gas_budgets: one of the limits
            return BudgetExhausted(_said(error))
        case "FP008":  # triggers/fees_paid: far above what was paid lately
            hint = error.diag.message_hint
            return UnusualFee(_said(error) if hint is None else f"{_said(error)}. {hint}")
    return None


def _refusal_of_intent(error: errors.DatabaseError) -> StepRefused | None:
    """What a trigger's refusal of an intent means; None for any other error."""
    message = _said(error)
    match error.sqlstate:
        case "FP001":  # triggers/gas_budgets: cooldown; DETAIL is its end
            return CooldownActive(message, datetime.fromisoformat(error.diag.message_detail or ""))
        case "FP004":  # triggers/money_enters: the wallet was edited since it was read
            return MovedOn(message)
        case "FP007":  # triggers/money_enters: bytes that were given up
            return MayStillLand(message)
        case "FP012":  # triggers/gas_for_held_wallets: somebody else has the receiver's key
            return SenderHeld(message)
        case "23505" if error.diag.constraint_name == "transfers_idempotency_key_key":
            return MovedOn(message)  # another worker has thought of the very same payment, and its way is over
    return _refusal_of_fee(error)


async def _check_purse(conn: AsyncConnection[Any], chain_id: int, payment: Payment, purse: Purse) -> None:
    """Raises PurseShort. Until commit nobody else asks the gas wallet for anything."""
    await fetch(conn, "payments/lock_gas", chain_id=chain_id)
    parameters = {"chain_id": chain_id, "gas_address": payment.sender, "after": purse.newest}
    (asked,) = await fetch(conn, "payments/send/gas_asked_since", **parameters)
    available = purse.available - parse_raw(asked["amount"]) - asked["payments"] * purse.fee
    if payment.amount + purse.fee > available:
        raise PurseShort(available)


async def _keep(conn: AsyncConnection[Any], job: Job, transfer_id: int, signed: SignedTransaction) -> int:
    """Signed bytes as the next attempt of a payment, within a step of its job; returns the attempt's id."""
    found: list[int] = await _ids(
        conn,
        "payments/send/record_signed",
        job_uuid=job.id,
        transfer_id=transfer_id,
        txid=signed.txid,
        signed_bytes=signed.raw,
        sender=signed.sender,
        nonce=signed.nonce,
        ref_block=signed.ref_block,
        expiration=signed.expiration,
        fee_cap=signed.fee_cap,
    )
    if not found:
        raise MovedOn(f"transfer {transfer_id} cannot be signed any more")
    crash_here(CrashPoint.SIGN_OPEN)
    return found[0]


async def _begin_broadcast(
    conn: AsyncConnection[Any], job: Job, attempt_ids: Sequence[int], not_sent: Mapping[str, str] | None
) -> None:
    data = Jsonb({"not_sent": not_sent} if not_sent else {})
    parameters = {"job_uuid": job.id, "attempt_ids": list(attempt_ids), "data": data}
    if len(await _ids(conn, "payments/send/begin_broadcast", **parameters)) != len(attempt_ids):
        raise MovedOn(f"attempts {list(attempt_ids)} are not all waiting to be sent any more")
    crash_here(CrashPoint.BROADCAST_OPEN)


async def _ids(conn: AsyncConnection[Any], name: str, **parameters: Any) -> list[Any]:
    """The first column of every row."""
    return [next(iter(row.values())) for row in await fetch(conn, name, **parameters)]
