"""Consolidations: a wallet's tokens to the treasury."""

from collections.abc import Sequence

from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Finality, Payment
from pipeline.queue.jobs import Done, Outcome
from pipeline.transfers.decide_consolidation import afford, lacks_reserve, plan_consolidation
from pipeline.transfers.decisions import Holdings, NeedsGas, Pay, Skip, Wait
from pipeline.transfers.handler import Decided, PayingHandler, ours, outcome_of, skipped, waiting
from pipeline.transfers.intents import Kind
from pipeline.transfers.reading import Unreadable, estimates, read_holdings, without_tokens
from pipeline.transfers.send import Claimed, Order, Sender
from pipeline.transfers.terms import Terms


class Consolidations(PayingHandler):
    """The handler of job type ``consolidation``."""

    kind = Kind.CONSOLIDATION

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
    ) -> list[tuple[Claimed, Holdings, Holdings, Pay]]:
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
            plan = plan_consolidation(terms, at_final, at_head)
            short = lacks_reserve(terms, at_final, at_head)
            if isinstance(plan, Skip) and at_final.unreadable:
                decided.append((one, without_tokens(one, at_final)))
            elif isinstance(plan, Skip):
                decided.append((one, skipped(plan)))
            elif isinstance(plan, Wait):
                decided.append((one, waiting(plan)))
            elif short is not None:
                decided.append((one, await self._gas_first(sender, one, short)))
            else:
                planned.append((one, at_final, at_head, plan))
        return planned

    async def _order(
        self,
        sender: Sender,
        terms: Terms,
        planned: Sequence[tuple[Claimed, Holdings, Holdings, Pay]],
        decided: list[Decided],
    ) -> None:
        treasury = await sender.treasury_address()
        payments = [Payment(one.context.address, treasury, pay.asset.asset, pay.amount) for one, _, _, pay in planned]
        priced = await estimates(sender.provider, payments, self._slots)
        for (one, final, head, pay), payment, estimate in zip(planned, payments, priced, strict=True):
            if isinstance(estimate, ChainError):
                decided.append((one, outcome_of(one.job, estimate)))
                continue
            short = afford(terms, final, head, estimate.fee)
            if short is not None:
                decided.append((one, await self._gas_first(sender, one, short)))
            else:
                decided.append((one, Order(one, self.kind, pay.asset, payment, estimate)))

    async def _gas_first(self, sender: Sender, one: Claimed, short: NeedsGas | Wait) -> Outcome:
        """Raise needs_gas before the job ends. Should this process die in between, the job runs again and finds the
        flag up; the other way round a wallet could be left with neither a job nor the flag."""
        if isinstance(short, Wait):
            return waiting(short)
        await sender.store.flag_needs_gas(one.context.wallet_id)
        return Done({"outcome": "needs_gas", "reason": short.reason})
