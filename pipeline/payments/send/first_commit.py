"""The first commit of payments: intents, nonces and signing requests of all the jobs that ask at this moment.

One transaction for all of them. What the database refuses of several is asked for again in halves, until the refusal
names the wallet that it is about; the others go on without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from loguru import logger
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from pipeline.db.rows import fetch
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.asks import Ask, JobAsks
from pipeline.payments.send.gas_funds import GasAsked
from pipeline.payments.send.refusals import (
    GasFundsShort,
    PayerFrozen,
    SenderStuck,
    StateChanged,
    UnfinishedNonce,
    UnknownTransactions,
    is_outage,
    refusals,
)
from pipeline.payments.send.request_rows import ToSign, insert_requests
from pipeline.payments.send.store import lost_leases

Opened = list[OpenRequest]
"""What may be signed for a job, in the order in which it was asked for."""

_OF_A_SENDER = (UnknownTransactions, UnfinishedNonce, SenderStuck, PayerFrozen)
"""Refusals of whatever the sender pays."""


class FirstCommit:
    """Asks for signatures."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def make(self, batch: Sequence[JobAsks], counted: Mapping[str, int] | None) -> list[Opened | Exception]:
        """For each job what may be signed, or why nothing may: LeaseLost, StateChanged (paid already, or a payment is
        under way), MayStillLand, GasFundsShort, CooldownActive, BudgetExhausted, UnusualFee, UnknownTransactions,
        UnfinishedNonce, SenderFrozen, SenderStuck, or what else a guard refuses. Of several payments of a job those
        before the one that is refused.

        ``counted`` is how many transactions of each sender a node showed before, in blocks or in its pool; None: they
        are not numbered. Raises nothing: an outage is the answer of those that it met."""
        try:
            with refusals():
                return await self._together(batch, counted)
        except Exception as refused:
            if is_outage(refused):
                return [refused] * len(batch)
            if isinstance(refused, _OF_A_SENDER) and len({one.sender for one in batch}) == 1:
                return [refused] * len(batch)
            parts = _parts(batch, refused)
            return [answer for part in parts for answer in await self.make(part, counted)] if parts else [refused]

    async def write_intents(self, one: JobAsks) -> None:
        """Intents alone, for which no signature can be asked before the confirmation worker has found out what their
        sender did: what it finds may be these very payments. Raises as ``make`` answers."""
        with refusals():
            async with self._pool.connection() as conn, conn.transaction():
                answers: dict[JobAsks, Opened | Exception] = dict(await lost_leases(conn, {one: one.job}))
                if not answers:
                    await self._intents(conn, [one], answers)
                for refused in answers.values():
                    if isinstance(refused, Exception):
                        raise refused

    async def _together(self, batch: Sequence[JobAsks], counted: Mapping[str, int] | None) -> list[Opened | Exception]:
        crash_here(CrashPoint.REQUEST_BEFORE)
        async with self._pool.connection() as conn, conn.transaction():
            answers: dict[JobAsks, Opened | Exception] = dict(await lost_leases(conn, {one: one.job for one in batch}))
            going = [one for one in batch if one not in answers]
            if counted is not None and going:
                senders = sorted({one.sender for one in going})
                await fetch(conn, "payments/lock_senders", chain_id=batch[0].job.chain_id, senders=senders)
            intents = await self._intents(conn, going, answers)
            nonces = {} if counted is None or not intents else await _reserve(conn, intents, counted)
            opened = await insert_requests(
                conn,
                [
                    ToSign(ask, row["id"], row["bundle_id"], row["job_id"], nonces.get(row["bundle_id"]))
                    for ask, row in intents.items()
                ],
            )
            by_ask = dict(zip(intents, opened, strict=True))
            answers |= {one: [by_ask[ask] for ask in one.asks] for one in going if one not in answers}
            crash_here(CrashPoint.REQUEST_OPEN)
        crash_here(CrashPoint.REQUEST_AFTER)
        return [answers[one] for one in batch]

    async def _intents(
        self, conn: AsyncConnection[Any], going: Sequence[JobAsks], answers: dict[JobAsks, Opened | Exception]
    ) -> dict[Ask, DictRow]:
        """The rows of transfers, in the order of the batch. A job that has one payment and may not make it gets its
        answer here; raises StateChanged, GasFundsShort where it has several."""
        await _check_gas_funds(conn, going, answers)
        asks = [(one, ask) for one in going if one not in answers for ask in one.asks]
        rows = await _written(conn, [pair for pair in asks if pair[1].transfer_id is None])
        rows |= await _resumed(conn, [pair for pair in asks if pair[1].transfer_id is not None])
        intents: dict[Ask, DictRow] = {}
        for one, ask in asks:
            row = rows.get((one.job.id, ask.asset_id))
            if row is not None:
                intents[ask] = row
                continue
            changed = StateChanged(
                f"job {one.job.job_id}: paid already, or another {ask.kind} payment of its wallet is under way"
            )
            if len(one.asks) > 1:
                raise changed
            answers[one] = changed
        return intents


def _parts(batch: Sequence[JobAsks], refused: Exception) -> list[Sequence[JobAsks]]:
    """What is asked for instead of a batch that was refused; nothing: it cannot be made smaller."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    (one,) = batch
    if len(one.asks) == 1:
        return []
    logger.warning("{}: {} is left for later: {}", one.job, one.asks[-1].payment.asset.symbol, refused)
    return [[replace(one, asks=one.asks[:-1])]]


async def _check_gas_funds(
    conn: AsyncConnection[Any], going: Sequence[JobAsks], answers: dict[JobAsks, Opened | Exception]
) -> None:
    wanted = [
        (one, ask.payment, ask.gas_funds, ask.transfer_id)
        for one in going
        for ask in one.asks
        if ask.gas_funds is not None
    ]
    if not wanted:
        return
    chain_id = wanted[0][0].job.chain_id
    asked = await GasAsked.read(conn, chain_id, [(payment, funds) for _, payment, funds, _ in wanted])
    for one, payment, funds, transfer_id in wanted:
        try:
            asked.ask(payment, funds, is_known=transfer_id is not None)
        except GasFundsShort as short:
            if len(one.asks) > 1:
                raise
            answers[one] = short


async def _written(conn: AsyncConnection[Any], new: Sequence[tuple[JobAsks, Ask]]) -> dict[Any, DictRow]:
    if not new:
        return {}
    rows = await fetch(
        conn,
        "payments/send/request",
        job_uuids=[one.job.id for one, _ in new],
        kinds=[ask.kind for _, ask in new],
        asset_ids=[ask.asset_id for _, ask in new],
        senders=[ask.payment.sender for _, ask in new],
        receivers=[ask.payment.receiver for _, ask in new],
        amounts=[ask.payment.amount for _, ask in new],
        fees=[ask.fee for _, ask in new],
    )
    return {(row["job_id"], row["asset_id"]): row for row in rows}


async def _resumed(conn: AsyncConnection[Any], old: Sequence[tuple[JobAsks, Ask]]) -> dict[Any, DictRow]:
    if not old:
        return {}
    rows = await fetch(
        conn,
        "payments/send/ask_again",
        transfer_ids=[ask.transfer_id for _, ask in old],
        job_uuids=[one.job.id for one, _ in old],
    )
    return {(row["job_id"], row["asset_id"]): row for row in rows}


async def _reserve(
    conn: AsyncConnection[Any], intents: Mapping[Ask, DictRow], counted: Mapping[str, int]
) -> dict[int, int]:
    """Nonces by bundle, in the order of the batch. Raises StateChanged."""
    rows = await fetch(
        conn,
        "payments/send/reserve_nonces",
        bundle_ids=[row["bundle_id"] for row in intents.values()],
        counted=[counted[ask.payment.sender] for ask in intents],
    )
    nonces = {row["bundle_id"]: row["nonce"] for row in rows}
    for row in intents.values():
        if row["bundle_id"] not in nonces:
            raise StateChanged(f"transfer {row['id']} cannot be signed any more")
    crash_here(CrashPoint.RESERVE_OPEN)
    return nonces
