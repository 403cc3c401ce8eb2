"""The payments of a chain through both commits, in batches: what asks while a batch is under way forms the next one.

    count      how many transactions its sender has, by a node: each by itself, before its batch (EVM)
    ask        first commit
    sign       the signer is asked, with no transaction open
    keep       second commit

A job whose payments are refused somewhere learns it at its own place; the others go on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby

import psycopg
from loguru import logger

from pipeline.batches import Batches
from pipeline.chains.kinds import Kind
from pipeline.db.errors import DATABASE_GONE
from pipeline.payments.discipline.discipline import Discipline
from pipeline.payments.send.asks import JobAsks
from pipeline.payments.send.first_commit import FirstCommit, Opened
from pipeline.payments.send.refusals import StepRefused, UnfinishedNonce, UnknownTransactions
from pipeline.payments.send.signatures import Answered, Signable, Signatures
from pipeline.payments.send.store import TransferStore
from pipeline.signing.errors import SigningDeferred

_TURNS = 3
"""To reserve a nonce after what others have left behind is finished."""
MOST_JOBS = 100
"""Of one batch: the locks of its senders, and of the chain's gas, are held for some 10 to 30 ms."""


class BothCommits:
    """Of one chain, for one process."""

    def __init__(
        self, store: TransferStore, discipline: Discipline, signatures: Signatures, node_slots: asyncio.Semaphore
    ) -> None:
        self._store = store
        self._node_slots = node_slots
        self._discipline = discipline
        self._signatures = signatures
        self._first = FirstCommit(store.pool)
        self._counting: dict[str, asyncio.Task[int | None]] = {}
        self._batches = Batches(self._run, MOST_JOBS)

    async def make(self, asks: JobAsks) -> Answered:
        """Have a job's payments signed and kept; nothing is sent yet. Raises StepRefused, SigningDeferred, what the
        provider raises, and psycopg.Error."""
        # Before the first commit begins: all of ours that a node shows was recorded then.
        return await self._batches.add((asks, await self._counted(asks.sender)))

    async def _counted(self, sender: str) -> int | None:
        """Who asks while a sender is being counted shares it."""
        counting = self._counting.get(sender)
        if counting is None:
            counting = self._counting[sender] = asyncio.create_task(self._count(sender))
            counting.add_done_callback(lambda _: self._counting.pop(sender, None))
        return await asyncio.shield(counting)

    async def _count(self, sender: str) -> int | None:
        async with self._node_slots:
            return await self._discipline.counted(sender)

    async def _run(self, batch: Sequence[tuple[JobAsks, int | None]]) -> list[Answered | Exception]:
        counts: dict[str, int] = {}
        for one, count in batch:
            if count is not None:
                counts[one.sender] = max(count, counts.get(one.sender, 0))
        opened = await self._opened([one for one, _ in batch], counts or None)
        to_sign = {
            one: Signable(result, one.job, one.not_sent)
            for one, result in opened.items()
            if not isinstance(result, Exception)
        }
        signed = await self._signatures.obtain(list(to_sign.values())) if to_sign else []
        answers: dict[JobAsks, Answered | Exception] = {
            one: result for one, result in opened.items() if isinstance(result, Exception)
        }
        answers |= dict(zip(to_sign, signed, strict=True))
        for one, answer in answers.items():
            if isinstance(answer, UnknownTransactions):
                await self._have_reconciled(one, counts[one.sender])
        return [answers[one] for one, _ in batch]

    async def _opened(
        self, jobs: Sequence[JobAsks], counted: Mapping[str, int] | None
    ) -> dict[JobAsks, Opened | Exception]:
        """What the first commit answers. Whoever pays next finishes a nonce that is reserved and not signed, with the
        intent that stands in its row; its process may have died."""
        opened = dict(zip(jobs, await self._first.make(jobs, counted), strict=True))
        for _ in range(_TURNS - 1):
            behind = [one for one, result in opened.items() if isinstance(result, UnfinishedNonce)]
            if not behind:
                break
            for sender, group in groupby(sorted(behind, key=lambda one: one.sender), key=lambda one: one.sender):
                waiting = list(group)
                refusal = await self._finish_open(waiting[0], sender)
                if refusal is not None:
                    opened |= dict.fromkeys(waiting, refusal)
                    behind = [one for one in behind if one not in waiting]
            opened |= dict(zip(behind, await self._first.make(behind, counted), strict=True)) if behind else {}
        return opened

    async def _finish_open(self, first: JobAsks, sender: str) -> Exception | None:
        """Why what a sender has left open is not signed; None: it is finished. The trouble of one sender is not that of
        the others, whose requests are open already."""
        kinds = (first.asks[0].kind, Kind.GAP)
        try:
            _, later = await self._signatures.finish_open(first.job.chain_id, kinds, sender)
        except Exception as trouble:
            return trouble
        return SigningDeferred(later[0].reason) if later else None

    async def _have_reconciled(self, one: JobAsks, counted: int) -> None:
        """What is found may be these very payments: the confirmation worker has to see that they are wanted. Where that
        cannot be written now, the job asks again in a while; what others of its batch have kept is sent meanwhile."""
        try:
            await self._first.write_intents(one)
            await self._store.request_reconciliation(one.job.chain_id, one.sender, counted)
        except StepRefused as refused:
            logger.debug("{}: {}", one.job, refused)
        except (*DATABASE_GONE, psycopg.Error) as trouble:
            logger.warning("{}: its sender is not reconciled yet: {}", one.job, trouble)
