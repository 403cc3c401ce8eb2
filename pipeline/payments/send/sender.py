"""Payments from their intents to the node: the sender's half of the protocol.

    open     an intent is committed                                (requested)
    pay      build, check, sign; commit the bytes (signed), one payment of the job after the other
             commit that they may be anywhere, release the job     (broadcasting), all of them together
             send them, note the answers

Where transactions are numbered (EVM), numbering, signing and handing over are one commit, in which nobody is asked over
a network: a nonce that nobody has signed with would keep all later payments of its sender waiting, and bytes that
were kept and held back would never expire.

A worker that meets a job again calls ``resume`` first, which goes on from whatever rows are there. From
'broadcasting' on the confirmation worker owns the payments (settle.py) and nothing here touches them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from loguru import logger
from psycopg import Error as DatabaseTrouble

from pipeline.chains.errors import ChainError, InconsistentNode
from pipeline.chains.fees import Fee
from pipeline.chains.provider import NumberedProvider, Provider
from pipeline.chains.values import Cost, Family, Payment, SignedTransaction, UnsignedTransaction
from pipeline.keys.derivation import GAS_INDEX, MAX_INDEX, TREASURY_INDEX
from pipeline.payments.authority import Authority, check_intent, check_wallet, signing_index
from pipeline.payments.crashpoints import CrashPoint, crash_here
from pipeline.payments.decide.prices import PriceWatch
from pipeline.payments.intents import Attempt, Context, Intent, Kind
from pipeline.payments.send.store import Draft, Purse, TransferStore, UnknownTransactions, kept_nothing
from pipeline.payments.states import AttemptState, TransferState
from pipeline.payments.terms import AssetTerms, Terms
from pipeline.queue.jobs import Defer, Done, Job, Outcome, Parked
from pipeline.signing.errors import SigningDeferred, SigningRefused
from pipeline.signing.local import Signer
from pipeline.signing.rules import Permit, SigningRules

T = TypeVar("T")

_MEANWHILE_SECONDS = 10.0
"""Until another job's payment of the same wallet is looked at again."""
_SIMULATION_KEPT_SECONDS = 5.0
"""What was simulated longer ago is simulated again right before it is signed (EVM)."""


@dataclass(frozen=True, slots=True, eq=False)
class Claimed:
    """A job with what is known of its wallet; compared and hashed by identity."""

    job: Job
    context: Context
    authority: Authority


@dataclass(frozen=True, slots=True)
class Order:
    """A decided payment, priced."""

    claimed: Claimed
    kind: Kind
    asset: AssetTerms
    payment: Payment
    estimate: Fee
    transfer_id: int | None = None
    """Set once its intent is committed."""
    priced_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Orders:
    """All that one job pays now, and what it cannot pay: reasons by symbol."""

    payments: tuple[Order, ...]
    not_sent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Signed bytes of one payment, kept and not sent."""

    attempt_id: int
    asset: AssetTerms
    payment: Payment
    signed: SignedTransaction


class Sender:
    """Pays on one chain. Holds the signer, so it exists only in processes that sign."""

    def __init__(
        self, store: TransferStore, provider: Provider, signer: Signer, family: Family, rules: SigningRules
    ) -> None:
        self.store = store
        self.provider = provider
        self.rules = rules
        self._signer = signer
        self._family = family
        self.prices = PriceWatch()
        """Whether the chain's fees keep all payments waiting."""
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By address, who of this process numbers its payment: the others wait here and not in the database, where each
        would hold a connection."""

    @property
    def numbered(self) -> NumberedProvider | None:
        """The provider, if transactions of its chain have nonces."""
        return self.provider.capabilities.numbered

    async def authority(self, wallet_index: int | None) -> Authority:
        """What we derive ourselves for the wallet that the database says is ours at this index; an index that has no
        key derives nothing."""
        return Authority(
            gas_address=await self.gas_address(),
            treasury_address=await self.treasury_address(),
            wallet_index=wallet_index,
            wallet_address=None
            if wallet_index is None or wallet_index > MAX_INDEX
            else await self._signer.address(self._family, wallet_index),
        )

    async def gas_address(self) -> str:
        return await self._signer.address(self._family, GAS_INDEX)

    async def treasury_address(self) -> str:
        return self.rules.policy.treasury or await self._signer.address(self._family, TREASURY_INDEX)

    async def terms(self, chain_id: int) -> Terms:
        """The chain's rules at this moment, with the tokens among its assets that this host may not move."""
        terms = await self.store.terms(chain_id)
        reasons = {token.id: self.rules.refusal(token.asset.contract) for token in terms.tokens}
        return replace(terms, refused={token: reason for token, reason in reasons.items() if reason is not None})

    async def resume(self, claimed: Claimed, kind: Kind, terms: Terms) -> Claimed | Outcome:
        """Go on from the rows that are there. Returns an outcome, or the job as it has to be decided now.

        Raises StepRefused, SigningRefused and what the provider raises.
        """
        job, context = claimed.job, claimed.context
        if kind is Kind.GAS and context.paid:
            return sent(context)
        for intent in context.own:
            if intent.is_out:
                await self.store.park(job, intent.id)
                return Parked()
        for intent in context.intents:
            if intent.job != job.id:
                meanwhile = await self._leftover(claimed, intent, terms)
                if meanwhile is not None:
                    return meanwhile
        claimed = _with_intents(claimed, context.own)
        check_wallet(context.address, claimed.authority)
        return await self._resume_signed(claimed, kind, terms)

    async def open(self, order: Order, purse: Purse | None = None) -> int:
        """Commit the intent, or adopt this job's unsent one if it says the same; returns its id. Raises StepRefused."""
        job, payment = order.claimed.job, order.payment
        for intent in order.claimed.context.own:
            if intent.asset_id != order.asset.id:
                continue
            if intent.payment(order.asset.asset) == payment:
                return intent.id
            wanted = order.asset.human(payment.amount)
            await self.store.reject(job, intent.id, f"decided anew: {wanted} to {payment.receiver}")
        return await self.store.request(job, order.kind, order.asset.id, payment, order.estimate.fee, purse)

    async def pay(self, orders: Orders, terms: Terms) -> Outcome:
        """Sign and send all that a job pays. Raises StepRefused, SigningRefused and what the provider raises; after the
        commit of 'broadcasting' it raises nothing that a node or the database does.

        Trouble with one after the first lets those before it go; the job comes back for the rest.
        """
        claimed, kind = orders.payments[0].claimed, orders.payments[0].kind
        await self._give_up_others(claimed, {order.asset.id for order in orders.payments})
        numbered = self.numbered
        if numbered is None:
            ready = await _as_far_as_possible(orders, lambda order: self._sign(order, terms))
            return await self._broadcast(claimed, kind, ready, orders.not_sent)
        async with AsyncExitStack() as permits:
            drafts = await _as_far_as_possible(orders, lambda order: self._draft(order, terms, numbered, permits))
            ready = await self._hand_over(orders, drafts, terms, numbered)
        await self._send(claimed, kind, ready)
        return Parked()

    @asynccontextmanager
    async def permit(
        self, unsigned: UnsignedTransaction, replaces: SignedTransaction | None = None
    ) -> AsyncIterator[Permit]:
        """What the signature of these bytes takes, counted on this host before it is given; asks no node. Of bytes that
        replace others, with the same nonce, what they may cost more: one of both lands. To be held until the bytes are
        kept: what the database refuses is given back.

        Raises SigningRefused, SigningDeferred."""
        payment, cost = unsigned.payment, self._cost(unsigned)
        self.rules.allow(payment, cost)
        most = _leaving(payment) + cost.fee
        already = 0 if replaces is None else _leaving(payment) + self.provider.codec.cost_of(replaces.raw).fee
        of_gas_wallet = payment.sender == await self.gas_address()
        async with self.rules.permit(most, max(0, most - already), of_gas_wallet=of_gas_wallet) as permit:
            try:
                yield permit
            except Exception as error:
                # Else each attempt at what the database refuses would count for its day.
                permit.dropped = kept_nothing(error)
                raise

    async def sign(
        self, kind: Kind, payment: Payment, unsigned: UnsignedTransaction, authority: Authority, permit: Permit
    ) -> SignedTransaction:
        """Read the bytes back, hold them against the rules, and sign them. Raises SigningRefused, SigningDeferred."""
        decoded = self.provider.codec.decode(unsigned.raw, payment.sender)
        check_intent(decoded, payment)
        index = signing_index(kind, decoded, authority)
        cost = self._cost(unsigned)
        self.rules.allow(decoded, cost)
        permit.use(_leaving(decoded) + cost.fee)
        signature = await self._signer.sign_digest(self._family, index, unsigned.digest)
        return self.provider.codec.attach(unsigned, signature)

    def _cost(self, unsigned: UnsignedTransaction) -> Cost:
        """What stands in the bytes, or what a node says beyond it (a part of the fee that no field bounds)."""
        own = self.provider.codec.cost_of(unsigned.raw)
        return Cost(max(own.fee, unsigned.fee_cap), own.gas)

    async def give_up(self, claimed: Claimed, reason: str) -> None:
        """Reject the unsent payments of this job. Raises StepRefused."""
        for intent in claimed.context.own:
            if not intent.is_out:
                await self.store.reject(claimed.job, intent.id, reason)

    async def _sign(self, order: Order, terms: Terms) -> _Ready:
        job, payment = order.claimed.job, order.payment
        transfer_id = order.transfer_id if order.transfer_id is not None else await self.open(order)
        parameters = await self.provider.prepare(payment, order.estimate, terms.lifetime_seconds)
        unsigned = self.provider.codec.build(payment, parameters)
        terms.check_fee(unsigned.fee_cap)
        async with self.permit(unsigned) as permit:
            signed = await self.sign(order.kind, payment, unsigned, order.claimed.authority, permit)
            attempt_id = await self.store.record_signed(job, transfer_id, signed)
        return _Ready(attempt_id, order.asset, payment, signed)

    async def _draft(self, order: Order, terms: Terms, numbered: NumberedProvider, permits: AsyncExitStack) -> Draft:
        """A payment with everything but its nonce, its intent committed. All that a node has to say is asked here, and
        all that waits for the disk is done."""
        payment, estimate = order.payment, order.estimate
        transfer_id = order.transfer_id if order.transfer_id is not None else await self.open(order)
        if not payment.asset.is_native and time.monotonic() - order.priced_at > _SIMULATION_KEPT_SECONDS:
            estimate = await self.provider.estimate(payment)
        parameters = await self.provider.prepare(payment, estimate, terms.lifetime_seconds, 0)
        unsigned = self.provider.codec.build(payment, parameters)
        terms.check_fee(unsigned.fee_cap)
        permit = await permits.enter_async_context(self.permit(unsigned))

        async def sign(nonce: int) -> SignedTransaction:
            numbers = numbered.codec.renumber(unsigned, nonce)
            return await self.sign(order.kind, payment, numbers, order.claimed.authority, permit)

        return Draft(transfer_id, sign)

    async def _hand_over(
        self, orders: Orders, drafts: Sequence[Draft], terms: Terms, numbered: NumberedProvider
    ) -> list[_Ready]:
        """Commit the bytes of all; from then on they may be out."""
        first = orders.payments[0]
        counted = (await numbered.sender_nonces(first.payment.sender)).seen
        line = self._lines.setdefault(first.payment.sender, asyncio.Lock())
        try:
            async with line:
                kept = await self.store.hand_over(first.claimed.job, drafts, counted, orders.not_sent)
        except UnknownTransactions:
            await self.store.doubt(terms.chain_id, first.payment.sender, counted)
            raise
        return [
            _Ready(one.attempt_id, order.asset, order.payment, one.signed)
            for order, one in zip(orders.payments, kept, strict=False)
        ]

    async def _give_up_others(self, claimed: Claimed, assets: set[UUID]) -> None:
        """Unsent intents of this job that were decided once and are not now."""
        for intent in claimed.context.own:
            if intent.asset_id not in assets:
                await self.store.reject(claimed.job, intent.id, "decided anew: not to be moved now")

    async def _leftover(self, claimed: Claimed, intent: Intent, terms: Terms) -> Outcome | None:
        """Another job's payment stands in the way: it lands first, or is given up if its job has finished."""
        if intent.is_out:
            return Defer(_MEANWHILE_SECONDS, f"transfer {intent.id} of an earlier job of this wallet is on its way")
        if intent.id in await self.store.reject_orphans(terms.chain_id, claimed.context.wallet_id):
            return None
        return Defer(_MEANWHILE_SECONDS, f"transfer {intent.id} of an earlier job of this wallet is not settled")

    async def _resume_signed(self, claimed: Claimed, kind: Kind, terms: Terms) -> Claimed | Outcome:
        """Bytes that were kept: send them, unless they are no longer allowed. The job comes back for what was not
        signed yet."""
        ready: list[_Ready] = []
        remaining: list[Intent] = []
        for intent in claimed.context.own:
            if intent.state is not TransferState.SIGNED:
                remaining.append(intent)
                continue
            if intent.attempt is None or intent.attempt.state is not AttemptState.SIGNED:
                # By hand: its bytes were given up without it, or never were. It would be neither sent nor decided anew.
                await self.store.reject(claimed.job, intent.id, "called signed, and has no bytes to send")
                continue
            found = await self._still_good(claimed, intent, intent.attempt, kind, terms)
            if found is not None:
                ready.append(found)
        if ready:
            return await self._broadcast(claimed, kind, ready, {})
        return _with_intents(claimed, tuple(remaining))

    async def _still_good(
        self, claimed: Claimed, intent: Intent, attempt: Attempt, kind: Kind, terms: Terms
    ) -> _Ready | None:
        """The bytes to be sent; None if they were given up. They are sent however old, unless no longer allowed.
        That they never left is only what this database says: one that was restored, or took over with its last commits
        missing, says it of bytes that are out. Old ones are refused by the node, proved dead, and then signed anew."""
        job, signed, asset = claimed.job, attempt.signed, terms.asset(intent.asset_id)
        try:
            if asset is None:
                raise SigningRefused(f"asset {intent.asset_id} is not active any more")
            decoded = self.provider.codec.decode(signed.raw)
            check_intent(decoded, intent.payment(asset.asset))
            signing_index(kind, decoded, claimed.authority)
            if (refusal := self.rules.refusal(decoded.asset.contract)) is not None:
                raise SigningRefused(refusal)
        except SigningRefused as refusal:
            logger.warning("{} {}: signed bytes given up unsent: {}", job.job_type, claimed.context.address, refusal)
            await self.store.reject(job, intent.id, str(refusal))
            return None
        return _Ready(attempt.id, asset, decoded, signed)

    async def _broadcast(
        self, claimed: Claimed, kind: Kind, ready: Sequence[_Ready], not_sent: Mapping[str, str]
    ) -> Outcome:
        await self.store.begin_broadcast(claimed.job, [one.attempt_id for one in ready], not_sent)
        await self._send(claimed, kind, ready)
        return Parked()

    async def _send(self, claimed: Claimed, kind: Kind, ready: Sequence[_Ready]) -> None:
        """A courtesy that anyone may repeat."""
        for one in ready:
            reply = await send_bytes(self.provider, one.signed)
            crash_here(CrashPoint.SEND_AFTER)
            _tell(kind, claimed.context.address, one.asset.human(one.payment.amount), one.signed.txid, reply)
            try:
                await self.store.record_reply(one.attempt_id, reply)
            except DatabaseTrouble as trouble:
                # Nothing hangs on it: the attempt is 'broadcasting', and the chain is asked about it.
                logger.warning("the reply to tx {} was not written down: {}", short(one.signed.txid), trouble)


async def send_bytes(provider: Provider, signed: SignedTransaction, repeat: int = 0) -> str:
    """Send the bytes, sent ``repeat`` times before, and put the answer into one line. Whatever it is, it proves
    nothing."""
    try:
        reply = await provider.broadcast(signed, repeat)
    except InconsistentNode as contradiction:
        logger.error("tx {}: {}", short(signed.txid), contradiction)
        return f"inconsistent node: {contradiction}"
    except ChainError as error:
        return f"{type(error).__name__}: {error}"
    return f"{reply.outcome}: {reply.code} {reply.message}".strip()


def _leaving(payment: Payment) -> int:
    """Coins that leave their sender, fee aside; native raw units."""
    return payment.amount if payment.asset.is_native and payment.receiver != payment.sender else 0


def sent(context: Context) -> Done:
    """The job has paid already."""
    last = context.paid[-1]
    return Done({"outcome": "sent", "transfer": last.transfer, "txid": last.txid}, clear_flag=False)


def short(txid: str) -> str:
    """``ab12cd34…``, enough to find a transaction by."""
    return f"{txid.removeprefix('0x')[:8]}…"


async def _as_far_as_possible(orders: Orders, step: Callable[[Order], Awaitable[T]]) -> list[T]:
    """One after the other, so that none goes on without those before it."""
    done: list[T] = []
    for order in orders.payments:
        try:
            done.append(await step(order))
        except (ChainError, SigningDeferred) as trouble:
            if not done:
                raise
            logger.warning("{}: {} is left for later: {}", order.claimed.job, order.asset.asset.symbol, trouble)
            break
    return done


def _with_intents(claimed: Claimed, intents: tuple[Intent, ...]) -> Claimed:
    return replace(claimed, context=replace(claimed.context, intents=intents))


def _tell(kind: Kind, wallet: str, amount: str, txid: str, reply: str) -> None:
    line = "{:<6} {} {} {}  (tx {}, {})"
    name, arrow = ("gas", "←") if kind is Kind.GAS else ("tokens", "→")
    logger.info(line, name, wallet, arrow, amount, short(txid), reply)
