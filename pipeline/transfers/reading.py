"""What a batch of wallets holds and what their payments cost, in as few calls as possible."""

import asyncio
from collections.abc import Mapping, Sequence

from pipeline.chains.errors import ChainError
from pipeline.chains.provider import Balance, BalanceQuery, FeeEstimate, Finality, Payment, Provider
from pipeline.transfers.decisions import Holdings
from pipeline.transfers.send import Claimed
from pipeline.transfers.terms import Terms


async def read_holdings(
    provider: Provider, terms: Terms, batch: Sequence[Claimed], finality: Finality, *also: BalanceQuery
) -> tuple[Mapping[Claimed, Holdings | str], Sequence[Balance]]:
    """One call: for each wallet its holdings or what is wrong with them, and the answers to the extra queries."""
    assets = (terms.native, *terms.tokens)
    queries = [BalanceQuery(one.context.address, asset.asset) for one in batch for asset in assets]
    answers = await provider.balances([*queries, *also], finality)
    found = {
        one: _holdings(terms, answers[place * len(assets) : (place + 1) * len(assets)])
        for place, one in enumerate(batch)
    }
    return found, answers[len(queries) :]


async def estimates(
    provider: Provider, payments: Sequence[Payment], slots: asyncio.Semaphore
) -> list[FeeEstimate | ChainError]:
    """Price payments concurrently; what failed stands in its place."""

    async def one(payment: Payment) -> FeeEstimate | ChainError:
        async with slots:
            try:
                return await provider.estimate(payment)
            except ChainError as error:
                return error

    return await asyncio.gather(*map(one, payments))


def _holdings(terms: Terms, balances: Sequence[Balance]) -> Holdings | str:
    values = []
    for balance in balances:
        if balance.raw is None:
            return balance.error or "the balance could not be read"
        values.append(balance.raw)
    native, *tokens = values
    return Holdings(native, {token.id: raw for token, raw in zip(terms.tokens, tokens, strict=True)})
