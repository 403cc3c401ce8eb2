"""What both paying handlers have in common: a batch of jobs, each of them resumed, decided, paid.

    resume    jobs whose payment stands in some row already go on from there
    decide    the others, all together, because balances are read in one call (gas.py, consolidation.py)
    pay       concurrently: what waits at one moment goes through both commits together (both_commits.py)

Trouble becomes an outcome that says what to do; what concerns the network or another worker uses up no retry.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, TypeVar

import psycopg
from loguru import logger

from pipeline.chains.kinds import Kind
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.decide.decisions import Skip, Wait
from pipeline.payments.requests import UnreadableRequest
from pipeline.payments.send.claimed import Claimed, Orders
from pipeline.payments.send.outcomes import WRONG_NETWORK_PAUSE_SECONDS, outcome_of
from pipeline.payments.send.refusals import LeaseLost, StepRefused
from pipeline.payments.send.sender import Sender
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Defer, Done, Failed, Job, Outcome, Parked
from pipeline.signing.authority import check_wallet
from pipeline.signing.errors import SigningRefused

Decided = tuple[Claimed, Orders | Outcome]
Result = TypeVar("Result")


class PayingHandler(ABC):
    """Runs batches of one job type. ``handler.handle`` is a ``queue.jobs.Handler``."""

    kind: ClassVar[Kind]

    def __init__(self, senders: Mapping[int, Sender]) -> None:
        """``senders`` by chain id."""
        self._senders = senders

    def stats(self) -> Mapping[str, Any]:
        """What it has seen, for worker_registry.stats."""
        return {}

    @abstractmethod
    async def decide(self, sender: Sender, terms: Terms, batch: Sequence[Claimed]) -> list[Decided]:
        """For each job of the batch what it pays, or the outcome where there is nothing to pay."""

    async def handle(self, jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
        """Run a batch; yields each outcome as soon as it is known."""
        crash_here(CrashPoint.JOB_TAKEN)
        for chain_id, group in groupby(sorted(jobs, key=lambda job: job.chain_id), key=lambda job: job.chain_id):
            sender = self._senders.get(chain_id)
            of_chain = list(group)
            if sender is None:
                for job in of_chain:
                    yield job, Defer(WRONG_NETWORK_PAUSE_SECONDS, f"chain {chain_id} is not served by this process")
                continue
            try:
                async for job, outcome in self._run(sender, tuple(of_chain)):
                    of_chain.remove(job)
                    yield job, outcome
            except Exception as trouble:
                # Something that concerns all the jobs left: their node or the database. Each of them says so.
                for job in of_chain:
                    yield job, outcome_of(job, trouble)

    async def _run(self, sender: Sender, jobs: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
        store = sender.store
        terms = await sender.terms(jobs[0].chain_id)
        contexts = await store.contexts(jobs, self.kind)
        claimed_jobs = []
        for job in jobs:
            context = contexts.get(job.id)
            if context is None:
                yield job, Failed(f"job {job.job_id}: its wallet is gone")
                continue
            if isinstance(context, UnreadableRequest):
                yield job, outcome_of(job, context)
                continue
            claimed_jobs.append(Claimed(job, context, await sender.authority(context.derivation_index)))
        resuming = [self._guarded(sender, one, sender.resume(one, self.kind, terms)) for one in claimed_jobs]
        undecided: list[Claimed] = []
        async for claimed, result in _as_completed(resuming):
            if isinstance(result, Claimed):
                undecided.append(result)
            else:
                yield claimed.job, result
        if not undecided:
            return
        paying = []
        for claimed, decided in await self.decide(sender, terms, undecided):
            if isinstance(decided, Orders):
                paying.append(self._guarded(sender, claimed, sender.pay(decided, terms)))
            else:
                yield claimed.job, await self._without_payment(sender, claimed, decided)
        async for claimed, paid in _as_completed(paying):
            yield claimed.job, paid

    async def _without_payment(self, sender: Sender, claimed: Claimed, outcome: Outcome) -> Outcome:
        """An unsent intent of an earlier attempt does not outlive the decision against it; waiting keeps it."""
        try:
            if isinstance(outcome, Done | Failed):
                reason = outcome.error if isinstance(outcome, Failed) else str(outcome.data.get("reason", "not needed"))
                await sender.give_up(claimed, reason)
        except StepRefused as refused:
            return outcome_of(claimed.job, refused)
        return outcome

    async def _guarded(
        self, sender: Sender, claimed: Claimed, step: Coroutine[Any, Any, Result]
    ) -> tuple[Claimed, Result | Outcome]:
        """Run one job's step; its trouble becomes its own outcome."""
        try:
            return claimed, await step
        except LeaseLost as lost:
            logger.info("{}", lost)
            await self._clean_up(sender, claimed)
            return claimed, Parked()
        except SigningRefused as refused:
            failed = Failed(str(refused))
            return claimed, await self._without_payment(sender, claimed, failed)
        except Exception as trouble:
            return claimed, outcome_of(claimed.job, trouble)

    async def _clean_up(self, sender: Sender, claimed: Claimed) -> None:
        """A job cancelled in the middle leaves a payment that nobody will sign: give it up now. The confirmation worker
        does the same for those that nobody comes back to."""
        try:
            await sender.store.reject_orphans(claimed.job.chain_id, claimed.context.wallet_id)
        except psycopg.Error as trouble:
            logger.warning("{}: unsent payment left to the confirmation worker: {}", claimed.job, trouble)


def ours(batch: Sequence[Claimed]) -> tuple[list[Claimed], list[Decided]]:
    """The wallets derived from our mnemonic, and a refusal for each of the others."""
    accepted: list[Claimed] = []
    refused: list[Decided] = []
    for one in batch:
        try:
            check_wallet(one.context.address, one.authority)
        except SigningRefused as reason:
            refused.append((one, Failed(str(reason))))
        else:
            accepted.append(one)
    return accepted, refused


def skipped(reason: Skip) -> Done:
    """Nothing to do: the flag was raised for something that has passed."""
    return Done({"outcome": "skipped", "reason": reason.reason}, clear_flag=True)


def waiting(wait: Wait) -> Defer:
    """Not now."""
    return Defer(wait.seconds, wait.reason)


async def _as_completed(steps: Sequence[Coroutine[Any, Any, Result]]) -> AsyncIterator[Result]:
    """Results in the order they come; leaving early cancels the rest and waits for them."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
