"""What is stuck and needs a signature (EVM), done by the processes that have the keys; nonce_queue.py finds it.

    replacement   the same nonce, the same payment, both fees +15 %, the gas that it needs now, within the cap, fee_max
                  and what the sender holds
    gap           a nonce that nobody may use any more: its sender pays itself one wei

Neither can pay anybody twice: what shares a nonce lands once. The rules for signing hold here as for every payment.
"""

from collections.abc import Coroutine, Sequence
from typing import Any

import psycopg
from loguru import logger

from pipeline.chains.errors import ChainError, FeeCapTooLow, InsufficientFunds, SimulationFailed
from pipeline.chains.provider import NumberedProvider
from pipeline.chains.values import BalanceQuery, Finality, Payment, UnsignedTransaction
from pipeline.payments.authority import GAP_AMOUNT
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.intents import Kind
from pipeline.payments.send.replacement_store import UpkeepStore, Void, Wanted
from pipeline.payments.send.sender import Sender, send_bytes, short
from pipeline.payments.send.store import BudgetExhausted, MovedOn, UnusualFee, refused_by_guard
from pipeline.payments.terms import Terms
from pipeline.signing.errors import SigningDeferred, SigningRefused


class Upkeep:
    """For one kind of payment on one chain: gas looks after the gas wallet, consolidation after the customers'."""

    def __init__(
        self, chain_id: int, kind: Kind, store: UpkeepStore, sender: Sender, provider: NumberedProvider
    ) -> None:
        self._chain_id = chain_id
        self._kind = kind
        self._store = store
        self._sender = sender
        self._provider = provider

    async def round(self) -> int:
        """Do all that is asked for; how many transactions were sent. Trouble with one stops none of the others.

        Raises psycopg.Error."""
        terms = await self._sender.store.terms(self._chain_id)
        done = 0
        for wanted in await self._store.wanted(self._chain_id, self._kinds()):
            done += await self._guarded(self._replace(terms, wanted), f"transfer {wanted.transfer_id}")
        gas_address = await self._sender.gas_address()
        voids = await self._store.voids(self._chain_id, gas_address, of_gas_wallet=self._kind is Kind.GAS)
        for void in voids:
            done += await self._guarded(self._fill(terms, void), f"nonce {void.nonce} of {void.sender}")
        return done

    def _kinds(self) -> Sequence[Kind]:
        # Gaps of both, whoever comes first: they are rare, and any of the two can sign for all.
        return (self._kind, Kind.GAP)

    async def _replace(self, terms: Terms, wanted: Wanted) -> int:
        payment = wanted.payment
        affordable = await self._held(terms, payment.sender) - wanted.promised
        if payment.asset.is_native:
            affordable -= payment.amount
        affordable = min(affordable, terms.fee_max, self._sender.rules.policy.fee_max)
        try:
            unsigned = await self._bump(wanted, max(0, affordable))
            terms.check_fee(unsigned.fee_cap)
        except SimulationFailed as failing:
            reason = f"{failing}: it waits, as in a block it would cost its fee and pay nothing"
            await self._store.decline(wanted, reason)
            logger.warning("transfer {}: {}", wanted.transfer_id, reason)
            return 0
        except FeeCapTooLow as capped:
            await self._store.decline(wanted, str(capped))
            wallet_id = wanted.owner.wallet_id
            if wanted.kind is Kind.CONSOLIDATION and wallet_id is not None and await self._is_poor(terms, wanted):
                await self._sender.store.flag_needs_gas(wallet_id)
            logger.warning("transfer {}: {}", wanted.transfer_id, capped)
            return 0
        authority = await self._sender.authority(wanted.owner.derivation_index)
        try:
            async with self._sender.permit(unsigned, wanted.signed) as permit:
                signed = await self._sender.sign(wanted.kind, payment, unsigned, authority, permit)
                attempt_id = await self._store.record_replacement(wanted, signed)
        except (SigningRefused, SigningDeferred, BudgetExhausted, UnusualFee) as refused:
            await self._store.decline(wanted, str(refused))
            raise
        reply = await send_bytes(self._provider, signed)
        crash_here(CrashPoint.REPLACE_SENT)
        logger.info(
            "replaced tx {} by {}: nonce {}, up to {} ({})",
            *(short(wanted.signed.txid), short(signed.txid), signed.nonce, terms.native.human(signed.fee_cap), reply),
        )
        await self._sender.store.record_reply(attempt_id, reply)
        return 1

    async def _bump(self, wanted: Wanted, affordable: int | None = None) -> UnsignedTransaction:
        """A payment that the chain says would fail waits at first: what is in its way (a paused token) may pass. For
        longer than its line's bound it does not: others wait behind its nonce, and it fails in a block then.

        Raises SimulationFailed, FeeCapTooLow."""
        try:
            parameters = await self._provider.prepare_replacement(wanted.signed, affordable)
        except SimulationFailed as failing:
            if not wanted.is_overdue:
                raise
            logger.error("transfer {} is offered again all the same, to use its nonce: {}", wanted.transfer_id, failing)
            parameters = await self._provider.prepare_replacement(wanted.signed, affordable, keep_gas_limit=True)
        return self._provider.codec.build(wanted.payment, parameters)

    async def _is_poor(self, terms: Terms, wanted: Wanted) -> bool:
        """Whether it is the sender's coins that keep the offer down, and not a cap."""
        try:
            terms.check_fee((await self._bump(wanted)).fee_cap)
        except (FeeCapTooLow, SimulationFailed):
            return False
        return True

    async def _fill(self, terms: Terms, void: Void) -> int:
        counted = await self._provider.sender_nonces(void.sender)
        if void.nonce < counted.latest:
            await self._store.doubt(self._chain_id, void, counted.latest)
            return 0
        payment = Payment(void.sender, void.sender, terms.native.asset, GAP_AMOUNT)
        try:
            estimate = await self._provider.estimate(payment)
        except InsufficientFunds:
            if void.owner.wallet_id is not None:
                await self._sender.store.flag_needs_gas(void.owner.wallet_id)
            raise
        parameters = await self._provider.prepare(payment, estimate, terms.lifetime_seconds, void.nonce)
        unsigned = self._provider.codec.build(payment, parameters)
        terms.check_fee(unsigned.fee_cap)
        authority = await self._sender.authority(void.owner.derivation_index)
        async with self._sender.permit(unsigned) as permit:
            signed = await self._sender.sign(Kind.GAP, payment, unsigned, authority, permit)
            attempt_id = await self._store.record_gap(self._chain_id, void, payment, estimate.fee, signed)
        reply = await send_bytes(self._provider, signed)
        crash_here(CrashPoint.GAP_SENT)
        logger.warning("filled nonce {} of {} (tx {}, {})", void.nonce, void.sender, short(signed.txid), reply)
        await self._sender.store.record_reply(attempt_id, reply)
        return 1

    async def _held(self, terms: Terms, address: str) -> int:
        """Coins at the newest block: what is in blocks is spent there, what is not is counted as promised."""
        (balance,) = await self._provider.balances([BalanceQuery(address, terms.native.asset)], Finality.HEAD)
        return balance.raw or 0

    async def _guarded(self, step: Coroutine[Any, Any, int], what: str) -> int:
        try:
            return await step
        except MovedOn as moved:
            logger.debug("{}: {}", what, moved)
        except (ChainError, SigningRefused, SigningDeferred, BudgetExhausted, UnusualFee) as trouble:
            logger.warning("{}: {}: {}", what, type(trouble).__name__, trouble)
        except psycopg.Error as refusal:
            if not refused_by_guard(refusal):
                raise
            logger.error("{}: the database refuses this step: {}", what, refusal)
        return 0
