"""What a batch of wallets holds and what their payments cost, in as few calls as possible."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from pipeline.chains.errors import ChainError
from pipeline.chains.fees import Fee
from pipeline.chains.provider import Provider
from pipeline.chains.values import Balance, BalanceQuery, Finality, Payment
from pipeline.payments.decide.decisions import Holdings
from pipeline.payments.send.claimed import Claimed
from pipeline.payments.send.sender import Sender
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Defer, Retry

Unreadable = Retry | Defer
"""The outcome of a job whose wallet cannot be judged now."""


async def read_holdings(
    provider: Provider, terms: Terms, batch: Sequence[Claimed], finality: Finality, *also: BalanceQuery
) -> tuple[Mapping[Claimed, Holdings | Unreadable], Sequence[Balance]]:
    """One call: for each wallet its holdings or why there are none, and the answers to the extra queries."""
    assets = (terms.native, *terms.tokens)
    queries = [BalanceQuery(one.context.address, asset.asset) for one in batch for asset in assets]
    answers = await provider.balances([*queries, *also], finality)
    found = {
        one: _holdings(terms, one, answers[place * len(assets) : (place + 1) * len(assets)], finality)
        for place, one in enumerate(batch)
    }
    return found, answers[len(queries) :]


async def estimates(sender: Sender, terms: Terms, payments: Sequence[Payment]) -> list[Fee | ChainError]:
    """Price payments concurrently; what failed, or is too expensive by our own rules, stands in its place."""

    async def one(payment: Payment) -> Fee | ChainError:
        async with sender.node_slots:
            try:
                estimate = await sender.provider.estimate(payment)
                terms.check_fee(estimate.highest)
            except ChainError as error:
                return error
        return estimate

    priced = await asyncio.gather(*map(one, payments))
    sender.fee_alarm.note(terms.chain, priced)
    return priced


def _holdings(terms: Terms, one: Claimed, balances: Sequence[Balance], finality: Finality) -> Holdings | Unreadable:
    known = one.context.known_block
    native, *tokens = balances
    if native.raw is None:
        return Retry(f"wallet {one.context.address}: {native.error or 'the balance could not be read'}")
    held: dict[UUID, int] = {}
    unreadable: dict[UUID, str] = {}
    for token, balance in zip(terms.tokens, tokens, strict=True):
        if token.id in terms.refused:
            unreadable[token.id] = f"{token.asset.symbol}: {terms.refused[token.id]}"
        elif balance.raw is None:
            unreadable[token.id] = f"{token.asset.symbol}: {balance.error or 'the balance could not be read'}"
        else:
            held[token.id] = balance.raw
    if finality is Finality.FINAL and known is not None:
        read = min((balance.block.number for balance in balances if balance.block is not None), default=known)
        if read < known:
            return Defer(
                terms.block_seconds, f"a node is behind: final block {read}, the wallet was read at {known} already"
            )
    return Holdings(native.raw, held, unreadable)


def without_tokens(one: Claimed, held: Holdings) -> Retry:
    """The outcome where a decision hangs on a token that could not be read."""
    return Retry(f"wallet {one.context.address}: {'; '.join(held.unreadable.values())}")
