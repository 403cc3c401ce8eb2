"""The payments of a chain through both commits, in batches: what asks while a batch is under way forms the next one.

    count      how many transactions of each sender a node shows (EVM)
    ask        first commit
    sign       the signer is asked, with no transaction open
    keep       second commit

A job whose payments are refused somewhere learns it at its own place; the others go on.
"""

import asyncio
from collections.abc import Mapping, Sequence

from loguru import logger

from pipeline.batches import Batches
from pipeline.chains.errors import ChainError
from pipeline.payments.discipline.discipline import Discipline
from pipeline.payments.send.asks import JobAsks
from pipeline.payments.send.first_commit import FirstCommit
from pipeline.payments.send.refusals import StepRefused, UnknownTransactions
from pipeline.payments.send.signatures import Answered, Signable, Signatures
from pipeline.payments.send.store import TransferStore

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
        self._batches = Batches(self._run, MOST_JOBS)

    async def make(self, asks: JobAsks) -> Answered:
        """Have a job's payments signed and kept; nothing is sent yet. Raises StepRefused, what the provider raises, and
        psycopg.Error."""
        return await self._batches.add(asks)

    async def _run(self, batch: Sequence[JobAsks]) -> list[Answered | Exception]:
        counted, answers = await self._count(batch)
        going = [one for one in batch if one not in answers]
        opened = await self._first.make(going, counted) if going else []
        to_sign: dict[JobAsks, Signable] = {}
        for one, result in zip(going, opened, strict=True):
            if isinstance(result, UnknownTransactions):
                await self._have_reconciled(one, (counted or {})[one.sender])
            if isinstance(result, Exception):
                answers[one] = result
            else:
                to_sign[one] = Signable(result, one.job, one.not_sent)
        signed = await self._signatures.obtain(list(to_sign.values())) if to_sign else []
        answers |= dict(zip(to_sign, signed, strict=True))
        return [answers[one] for one in batch]

    async def _count(
        self, batch: Sequence[JobAsks]
    ) -> tuple[Mapping[str, int] | None, dict[JobAsks, Answered | Exception]]:
        """Before the first commit begins: all that a node shows was recorded then. None: nothing is counted here."""
        senders = list(dict.fromkeys(one.sender for one in batch))
        counts = await asyncio.gather(*map(self._counted, senders), return_exceptions=True)
        troubles: dict[str, Exception] = {}
        counted: dict[str, int] = {}
        for sender, count in zip(senders, counts, strict=True):
            if isinstance(count, ChainError):
                troubles[sender] = count
            elif isinstance(count, BaseException):
                raise count
            elif count is not None:
                counted[sender] = count
        answers: dict[JobAsks, Answered | Exception] = {
            one: troubles[one.sender] for one in batch if one.sender in troubles
        }
        return (counted if counted else None), answers

    async def _counted(self, sender: str) -> int | None:
        async with self._node_slots:
            return await self._discipline.counted(sender)

    async def _have_reconciled(self, one: JobAsks, counted: int) -> None:
        """What is found may be these very payments: the confirmation worker has to see that they are wanted."""
        try:
            await self._first.write_intents(one)
        except StepRefused as refused:
            logger.debug("{}: {}", one.job, refused)
        await self._store.request_reconciliation(one.job.chain_id, one.sender, counted)
