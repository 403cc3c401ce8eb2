"""What is out, or was asked for, and needs a signature, done by the processes that have the keys.

    abandoned     a signature was asked for and nobody keeps it: its process died, or its job ended
    replacement   the same nonce, the same payment, both fees +15 %, the gas that it needs now, within the cap, fee_max
                  and what the sender holds
    gap           a nonce that nobody may use any more: its sender pays itself one wei

The last two are for numbered transactions (EVM); the nonce queue of the confirmation worker finds them. None of these
can pay anybody twice: the same request gives the same bytes, and what shares a nonce lands once. The rules for signing
hold here as for every payment.
"""

from collections.abc import Coroutine, Sequence
from typing import Any

import psycopg
from loguru import logger

from pipeline.chains.errors import ChainError, FeeCapTooLow, InsufficientFunds, SimulationFailed
from pipeline.chains.fees import Parameters
from pipeline.chains.kinds import GAP_AMOUNT, Kind
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BalanceQuery, Finality, Payment, UnsignedTransaction
from pipeline.db.errors import refused_by_guard
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.asks import Ask
from pipeline.payments.send.refusals import BudgetExhausted, StateChanged, UnusualFee
from pipeline.payments.send.replacement_store import ReplacementStore, Void, Wanted
from pipeline.payments.send.sender import Sender
from pipeline.payments.terms import Terms
from pipeline.signing.errors import SigningDeferred, SigningRefused


class Replacements:
    """For one kind of payment on one chain: gas for the gas wallet, consolidation for the customers'."""

    def __init__(self, chain_id: int, kind: Kind, store: ReplacementStore, sender: Sender) -> None:
        self._chain_id = chain_id
        self._kind = kind
        self._store = store
        self._sender = sender

    async def round(self) -> int:
        """Do all that is asked for; how many transactions were sent. Trouble with one stops none of the others.

        Raises psycopg.Error."""
        done = await self._guarded(self._finish_open(), "requests that nobody follows")
        provider = self._sender.discipline.replaces
        if provider is None:
            return done
        terms = await self._sender.store.terms(self._chain_id)
        for wanted in await self._store.wanted(self._chain_id, self._kinds()):
            done += await self._guarded(self._replace(provider, terms, wanted), f"transfer {wanted.transfer_id}")
        gas_address = await self._sender.gas_address()
        voids = await self._store.voids(self._chain_id, gas_address, of_gas_wallet=self._kind is Kind.GAS)
        for void in voids:
            done += await self._guarded(self._fill(provider, terms, void), f"nonce {void.nonce} of {void.sender}")
        return done

    def _kinds(self) -> Sequence[Kind]:
        # Gaps of both, whoever comes first: they are rare, and any of the two can sign for all.
        return (self._kind, Kind.GAP)

    async def _finish_open(self) -> int:
        """Go on with what a process left behind that died, or whose job ended."""
        sent, later = await self._sender.signatures.finish_open(self._chain_id, self._kinds())
        for refused in later:
            logger.error("request {} is not signed: {}", refused.request_id, refused.reason)
        return sent

    async def _replace(self, provider: NumberedProvider, terms: Terms, wanted: Wanted) -> int:
        payment = wanted.payment
        affordable = await self._held(provider, terms, payment.sender) - wanted.promised
        if payment.asset.is_native:
            affordable -= payment.amount
        affordable = min(affordable, terms.fee_max, self._sender.rules.policy.fee_max)
        try:
            parameters, unsigned = await self._bump(provider, wanted, max(0, affordable))
            terms.check_fee(unsigned.fee_cap)
        except SimulationFailed as failing:
            reason = f"{failing}: it waits, as in a block it would cost its fee and pay nothing"
            await self._store.decline(wanted, reason)
            logger.warning("transfer {}: {}", wanted.transfer_id, reason)
            return 0
        except FeeCapTooLow as capped:
            await self._store.decline(wanted, str(capped))
            wallet_id = wanted.owner.wallet_id
            if (
                wanted.kind is Kind.CONSOLIDATION
                and wallet_id is not None
                and await self._is_poor(provider, terms, wanted)
            ):
                await self._sender.store.flag_needs_gas(wallet_id)
            logger.warning("transfer {}: {}", wanted.transfer_id, capped)
            return 0
        try:
            authority = await self._sender.authority(wanted.owner.derivation_index)
            self._sender.check(wanted.kind, unsigned, authority)
            ask = Ask(
                wanted.kind,
                asset_id=wanted.asset_id,
                payment=payment,
                fee=unsigned.fee_cap,
                place=lambda _: (parameters, unsigned),
                wallet_id=wanted.owner.wallet_id,
                wallet_index=wanted.owner.derivation_index,
                wallet=wanted.owner.address or payment.sender,
            )
            request = await self._sender.signatures.requests.ask_replacement(
                ask, wanted.transfer_id, wanted.bundle, wanted.job, wanted.newest, wanted.signed
            )
        except (SigningRefused, SigningDeferred, BudgetExhausted, UnusualFee) as refused:
            await self._store.decline(wanted, str(refused))
            raise
        return await self._through(request)

    async def _through(self, request: OpenRequest) -> int:
        """Have a request signed, kept and sent; how many were. Raises SigningDeferred, SigningRefused, StateChanged."""
        answered = await self._sender.signatures.obtain_one(request)
        await self._sender.signatures.send(answered.ready)
        for later in answered.later:
            raise SigningDeferred(later.reason)
        for never in answered.never:
            raise SigningRefused(never.reason)
        return len(answered.ready)

    async def _bump(
        self, provider: NumberedProvider, wanted: Wanted, affordable: int | None = None
    ) -> tuple[Parameters, UnsignedTransaction]:
        """A payment that the chain says would fail waits at first: what is in its way (a paused token) may pass. For
        longer than its line's bound it does not: others wait behind its nonce, and it fails in a block then.

        Raises SimulationFailed, FeeCapTooLow."""
        try:
            parameters = await provider.prepare_replacement(wanted.signed, affordable)
        except SimulationFailed as failing:
            if not wanted.is_overdue:
                raise
            logger.error("transfer {} is offered again all the same, to use its nonce: {}", wanted.transfer_id, failing)
            parameters = await provider.prepare_replacement(wanted.signed, affordable, keep_gas_limit=True)
        return parameters, provider.codec.build(wanted.payment, parameters)

    async def _is_poor(self, provider: NumberedProvider, terms: Terms, wanted: Wanted) -> bool:
        """Whether it is the sender's coins that keep the offer down, and not a cap."""
        try:
            terms.check_fee((await self._bump(provider, wanted))[1].fee_cap)
        except (FeeCapTooLow, SimulationFailed):
            return False
        return True

    async def _fill(self, provider: NumberedProvider, terms: Terms, void: Void) -> int:
        counted = await provider.sender_nonces(void.sender)
        if void.nonce < counted.latest:
            await self._store.request_reconciliation(self._chain_id, void, counted.latest)
            return 0
        payment = Payment(void.sender, void.sender, terms.native.asset, GAP_AMOUNT)
        try:
            estimate = await provider.estimate(payment)
        except InsufficientFunds:
            if void.owner.wallet_id is not None:
                await self._sender.store.flag_needs_gas(void.owner.wallet_id)
            raise
        parameters = await provider.prepare(payment, estimate, terms.lifetime_seconds, void.nonce)
        unsigned = provider.codec.build(payment, parameters)
        terms.check_fee(unsigned.fee_cap)
        self._sender.check(Kind.GAP, unsigned, await self._sender.authority(void.owner.derivation_index))
        ask = Ask(
            Kind.GAP,
            asset_id=void.asset_id,
            payment=payment,
            fee=estimate.fee,
            place=self._sender.place(payment, parameters),
            wallet_id=void.owner.wallet_id,
            wallet_index=void.owner.derivation_index,
            wallet=void.sender,
        )
        return await self._through(await self._sender.signatures.requests.ask_gap(ask, self._chain_id, void.id))

    async def _held(self, provider: NumberedProvider, terms: Terms, address: str) -> int:
        """Coins at the newest block: what is in blocks is spent there, what is not is counted as promised."""
        (balance,) = await provider.balances([BalanceQuery(address, terms.native.asset)], Finality.HEAD)
        return balance.raw or 0

    async def _guarded(self, step: Coroutine[Any, Any, int], what: str) -> int:
        try:
            return await step
        except StateChanged as moved:
            logger.debug("{}: {}", what, moved)
        except (ChainError, SigningRefused, SigningDeferred, BudgetExhausted, UnusualFee) as trouble:
            logger.warning("{}: {}: {}", what, type(trouble).__name__, trouble)
        except psycopg.Error as refusal:
            if not refused_by_guard(refusal):
                raise
            logger.error("{}: the database refuses this step: {}", what, refusal)
        return 0
