"""Consolidations: a wallet's tokens to the treasury, one payment for every asset that is worth one."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from uuid import UUID

from pipeline.chains.errors import ChainError, NotAToken, SimulationFailed
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Finality, Payment
from pipeline.payments.decide.consolidation import RETRY_SECONDS, afford, lacks_reserve, plan_consolidation
from pipeline.payments.decide.decisions import Holdings, NeedsGas, Pay, Skip, Wait
from pipeline.payments.send.claimed import Claimed, Order, Orders
from pipeline.payments.send.handler import Decided, PayingHandler, ours, skipped, waiting
from pipeline.payments.send.holdings import Unreadable, estimates, read_holdings, without_tokens
from pipeline.payments.send.outcomes import outcome_of
from pipeline.payments.send.sender import Sender, sent
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Done, Outcome, Retry

Planned = tuple[Claimed, Holdings, Holdings, tuple[Pay, ...]]
"""A wallet with what it holds at the final and at the newest block, and what is to be moved."""


class Consolidations(PayingHandler):
    """The handler of job type ``consolidation``."""

    kind = Kind.CONSOLIDATION

    def __init__(self, senders: Mapping[int, Sender]) -> None:
        super().__init__(senders)
        self._sent_for_gas: dict[UUID, float] = {}
        """When, by wallet, in this order; those of the last seconds."""

    async def decide(self, sender: Sender, terms: Terms, batch: Sequence[Claimed]) -> list[Decided]:
        mine, decided = ours(batch)
        ready = []
        for one in mine:
            if one.context.needs_gas:
                decided.append((one, Done({"outcome": "needs_gas", "reason": "the wallet is waiting for gas"})))
            else:
                ready.append(one)
        if ready:
            planned = await self._planned(sender, terms, ready, decided)
            await self._order(sender, terms, planned, decided)
        return decided

    async def _planned(
        self, sender: Sender, terms: Terms, batch: Sequence[Claimed], decided: list[Decided]
    ) -> list[Planned]:
        final, _ = await read_holdings(sender.provider, terms, batch, Finality.FINAL)
        head, _ = await read_holdings(sender.provider, terms, batch, Finality.HEAD)
        planned = []
        for one in batch:
            at_final, at_head = final[one], head[one]
            if isinstance(at_final, Unreadable):
                decided.append((one, at_final))
                continue
            if isinstance(at_head, Unreadable):
                decided.append((one, at_head))
                continue
            plan = plan_consolidation(terms, at_final, at_head, [paid.asset_id for paid in one.context.paid])
            short = lacks_reserve(terms, at_final, at_head)
            if isinstance(plan, Skip) and at_final.unreadable:
                decided.append((one, without_tokens(one, at_final)))
            elif isinstance(plan, Skip):
                decided.append((one, sent(one.context) if one.context.paid else skipped(plan)))
            elif isinstance(plan, Wait):
                decided.append((one, waiting(plan)))
            elif short is not None:
                decided.append((one, await self._gas_first(sender, one, short)))
            else:
                planned.append((one, at_final, at_head, plan))
        return planned

    async def _order(self, sender: Sender, terms: Terms, planned: Sequence[Planned], decided: list[Decided]) -> None:
        treasury = await sender.treasury_address()
        payments = [
            (place, pay, Payment(one.context.address, treasury, pay.asset.asset, pay.amount))
            for place, (one, _, _, plan) in enumerate(planned)
            for pay in plan
        ]
        priced = await estimates(sender, terms, [payment for _, _, payment in payments])
        for place, group in groupby(zip(payments, priced, strict=True), key=lambda pair: pair[0][0]):
            one, final, head, _ = planned[place]
            orders: list[Order] = []
            failed: dict[str, ChainError] = {}
            for (_, pay, payment), estimate in group:
                if isinstance(estimate, ChainError):
                    failed[pay.asset.asset.symbol] = estimate
                else:
                    orders.append(Order(one, self.kind, pay.asset, payment, estimate))
            decided.append((one, await self._together(sender, terms, one, final, head, orders, failed)))

    async def _together(
        self,
        sender: Sender,
        terms: Terms,
        one: Claimed,
        final: Holdings,
        head: Holdings,
        orders: Sequence[Order],
        failed: dict[str, ChainError],
    ) -> Orders | Outcome:
        """What can be moved is moved, although another token cannot be: the job says so at its end. Trouble with the
        network, or with the price of gas, is about none of them: all wait."""
        passing = [trouble for trouble in failed.values() if not isinstance(trouble, SimulationFailed | NotAToken)]
        if failed and (passing or not orders):
            return _none_moves(one, passing or list(failed.values()))
        short = afford(terms, final, head, sum(order.estimate.fee for order in orders))
        if short is not None:
            return await self._gas_first(sender, one, short)
        return Orders(tuple(orders), {symbol: str(trouble) for symbol, trouble in failed.items()})

    async def _gas_first(self, sender: Sender, one: Claimed, short: NeedsGas | Wait) -> Outcome:
        """Raise needs_gas before the job ends. Should this process die in between, the job runs again and finds the
        flag up; the other way round a wallet could be left with neither a job nor the flag.

        A wallet that comes straight back has enough by the prices of the process that gives gas. Each keeps them for a
        while, and until they agree the two would send it back and forth as fast as they can."""
        if isinstance(short, Wait):
            return waiting(short)
        wallet, now = one.context.wallet_id, asyncio.get_running_loop().time()
        while self._sent_for_gas and now >= next(iter(self._sent_for_gas.values())) + RETRY_SECONDS:
            del self._sent_for_gas[next(iter(self._sent_for_gas))]
        if wallet in self._sent_for_gas:
            return waiting(Wait(RETRY_SECONDS, f"{short.reason}, and gas was asked for a moment ago"))
        self._sent_for_gas[wallet] = now
        await sender.store.flag_needs_gas(one.context.wallet_id)
        return Done({"outcome": "needs_gas", "reason": short.reason})


def _none_moves(one: Claimed, troubles: Sequence[ChainError]) -> Outcome:
    outcomes = [outcome_of(one.job, trouble) for trouble in troubles]
    retries = [outcome for outcome in outcomes if isinstance(outcome, Retry)]
    if len(retries) == len(outcomes):
        return Retry("; ".join(retry.error for retry in retries))
    return next(outcome for outcome in outcomes if not isinstance(outcome, Retry))
