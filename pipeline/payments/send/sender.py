"""Payments from decisions to the node: the sender's half of the protocol (``payments`` has it in prose).

    prepare    ask nodes what the transaction needs, build it, check it against terms and policy
    ask        first commit: intents, nonce, signing requests                       (requested)
    sign       the signer is asked, with no transaction open
    keep       second commit: bytes, the job is handed over                         (broadcasting)
    send       send them, note the answers

A worker that meets a job again calls ``resume`` first, which goes on from whatever rows are there. From
'broadcasting' on the confirmation worker owns the payments and nothing here touches them.
"""

import asyncio
from dataclasses import replace

from loguru import logger

from pipeline.chains.errors import ChainError
from pipeline.chains.fees import Parameters
from pipeline.chains.kinds import Kind
from pipeline.chains.provider import Provider
from pipeline.chains.values import Cost, Payment, UnsignedTransaction
from pipeline.keys.derivation import GAS_INDEX, MAX_INDEX, TREASURY_INDEX
from pipeline.payments.discipline.discipline import Discipline
from pipeline.payments.intents import Context, Intent
from pipeline.payments.send.asks import Ask, JobAsks, Place
from pipeline.payments.send.both_commits import BothCommits
from pipeline.payments.send.claimed import Claimed, Order, Orders
from pipeline.payments.send.fee_alarm import FeeAlarm
from pipeline.payments.send.signatures import Answered, Signatures
from pipeline.payments.send.store import TransferStore
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Defer, Done, Outcome, Parked
from pipeline.signing.authority import Authority, check_wallet, signing_index
from pipeline.signing.errors import SigningDeferred, SigningRefused
from pipeline.signing.request import Never, Signer
from pipeline.signing.rules import SigningRules

_MEANWHILE_SECONDS = 10.0
"""Until another job's payment of the same wallet is looked at again."""
MOST_AT_ONCE = 256
"""Payments under way at once on one chain. They wait for nodes and for a batch of the database: each costs a few kB."""
LEAST_AT_ONCE = 4
SECONDS_OF_CALLS = 4.0
"""At a node that limits its rate: so many seconds' calls are payments under way at once, each of 4 or 5 calls."""
NODE_CALLS_AT_ONCE = 32


class Sender:
    """Pays on one chain. Has a signer, so it exists only in processes that may ask one."""

    def __init__(
        self, store: TransferStore, provider: Provider, signer: Signer, rules: SigningRules, discipline: Discipline
    ) -> None:
        """``rules`` is what this host may sign: nothing is asked for that the signer would refuse."""
        self.store = store
        self.provider = provider
        self.rules = rules
        self.discipline = discipline
        self.node_slots = asyncio.Semaphore(NODE_CALLS_AT_ONCE)
        """For what is asked of nodes for many payments at once."""
        self.signatures = Signatures(store, provider, signer, rules.policy.network, self.node_slots)
        self._signer = signer
        self._family = rules.policy.network.family
        self.fee_alarm = FeeAlarm()
        """Whether the chain's fees keep all payments waiting."""
        self._commits = BothCommits(store, discipline, self.signatures, self.node_slots)

    @property
    def at_once(self) -> int:
        """How many payments are to be under way at once, by what the nodes answer: those that wait for a node's rate
        longer than a block reference lives would be made for nothing."""
        rate = self.provider.requests_per_second
        return MOST_AT_ONCE if rate is None else min(MOST_AT_ONCE, max(LEAST_AT_ONCE, int(rate * SECONDS_OF_CALLS)))

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

        Raises StepRefused, SigningRefused, SigningDeferred."""
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
        if any(intent.request is not None for intent in context.own):
            return await self._finish(claimed)
        check_wallet(context.address, claimed.authority)
        return claimed

    async def pay(self, orders: Orders, terms: Terms) -> Outcome:
        """Have all signed and sent that a job pays. Raises StepRefused, SigningRefused, SigningDeferred and what the
        provider raises; after the commit of 'broadcasting' it raises nothing that a node or the database does.

        Trouble with one after the first lets those before it go; the job comes back for the rest.
        """
        claimed = orders.payments[0].claimed
        asks = await self._asks(orders, terms)
        await self._give_up_others(claimed, orders)
        return await self._sent(await self._commits.make(JobAsks(claimed.job, asks, orders.not_sent)))

    async def give_up(self, claimed: Claimed, reason: str) -> None:
        """Reject the payments of this job that nobody is asked to sign. Raises StepRefused."""
        for intent in claimed.context.own:
            if not intent.is_out and intent.request is None:
                await self.store.reject(claimed.job, intent.id, reason)

    def check(self, kind: Kind, unsigned: UnsignedTransaction, authority: Authority) -> None:
        """What the signer would say of it now, ceilings of a day apart: nothing is reserved for what it would refuse.

        Raises SigningRefused, SigningDeferred."""
        payment = self.provider.codec.decode(unsigned.raw, unsigned.payment.sender)
        signing_index(kind, payment, authority)
        own = self.provider.codec.cost_of(unsigned.raw)
        self.rules.allow(payment, Cost(max(own.fee, unsigned.fee_cap), own.gas))

    async def _sent(self, answered: Answered) -> Outcome:
        """Send what is kept. Raises SigningDeferred, SigningRefused where nothing is."""
        if answered.ready:
            await self.signatures.send(answered.ready)
            for said in [one.reason for one in answered.later] + [one.reason for one in answered.never]:
                logger.warning("a payment of this job is left for later: {}", said)
            return Parked()
        if answered.later:
            raise SigningDeferred(answered.later[0].reason)
        never = answered.never[0]
        raise SigningRefused(never.reason) if never.why is Never.FORBIDDEN else SigningDeferred(never.reason)

    async def _finish(self, claimed: Claimed) -> Claimed | Outcome:
        """Requests of this job that may have been signed: they are asked for again, as they stand. The job comes back
        for what was not asked for yet; what was never signed is decided anew."""
        open_requests = [intent.request for intent in claimed.context.own if intent.request is not None]
        answered = await self.signatures.finish(open_requests, claimed.job)
        if answered.ready or answered.later:
            return await self._sent(answered)
        rejected = {str(one.request_id) for one in answered.never if one.why is Never.FORBIDDEN}
        remaining = tuple(
            replace(intent, request=None)
            for intent in claimed.context.own
            if intent.request is None or str(intent.request.id) not in rejected
        )
        check_wallet(claimed.context.address, claimed.authority)
        return _with_intents(claimed, remaining)

    async def _asks(self, orders: Orders, terms: Terms) -> list[Ask]:
        """Each payment built and checked, one after the other, so that none goes on without those before it."""
        asks: list[Ask] = []
        for order in orders.payments:
            try:
                asks.append(await self._ask(order, terms))
            except (ChainError, SigningDeferred) as trouble:
                if not asks:
                    raise
                logger.warning("{}: {} is left for later: {}", order.claimed.job, order.asset.asset.symbol, trouble)
                break
        return asks

    async def _ask(self, order: Order, terms: Terms) -> Ask:
        payment, context = order.payment, order.claimed.context
        parameters = await self.discipline.prepare(payment, order.estimate, order.priced_at, terms.lifetime_seconds)
        unsigned = self.provider.codec.build(payment, parameters)
        terms.check_fee(unsigned.fee_cap)
        self.check(order.kind, unsigned, order.claimed.authority)
        going_on = next((one.id for one in context.own if _says(one, order)), None)
        return Ask(
            kind=order.kind,
            asset_id=order.asset.id,
            payment=payment,
            fee=order.estimate.fee,
            place=self.place(payment, parameters),
            wallet_id=context.wallet_id,
            wallet_index=context.derivation_index,
            wallet=context.address,
            transfer_id=going_on,
            gas_funds=order.gas_funds,
        )

    def place(self, payment: Payment, parameters: Parameters) -> Place:
        """The bytes of a payment, by the nonce that is reserved for it."""
        return lambda nonce: self.discipline.place(payment, parameters, nonce)

    async def _give_up_others(self, claimed: Claimed, orders: Orders) -> None:
        """Unsigned intents of this job that were decided once, and are not now, or otherwise."""
        for intent in claimed.context.own:
            order = next((one for one in orders.payments if one.asset.id == intent.asset_id), None)
            if order is None:
                await self.store.reject(claimed.job, intent.id, "decided anew: not to be moved now")
            elif not _says(intent, order):
                wanted = f"{order.asset.human(order.payment.amount)} to {order.payment.receiver}"
                await self.store.reject(claimed.job, intent.id, f"decided anew: {wanted}")

    async def _leftover(self, claimed: Claimed, intent: Intent, terms: Terms) -> Outcome | None:
        """Another job's payment stands in the way: it lands first, or is given up if its job has finished. Where a
        signature is asked for it, only the signer can say whether it may be."""
        if intent.request is not None and not intent.request.is_wanted:
            answered = await self.signatures.finish([intent.request])
            await self.signatures.send(answered.ready)
            if answered.never:
                return None
        if intent.is_out:
            return Defer(_MEANWHILE_SECONDS, f"transfer {intent.id} of an earlier job of this wallet is on its way")
        if intent.id in await self.store.reject_orphans(terms.chain_id, claimed.context.wallet_id):
            return None
        return Defer(_MEANWHILE_SECONDS, f"transfer {intent.id} of an earlier job of this wallet is not settled")


def _says(intent: Intent, order: Order) -> bool:
    """Whether an intent that stands in a row says what was decided now."""
    return intent.asset_id == order.asset.id and intent.payment(order.asset.asset) == order.payment


def sent(context: Context) -> Done:
    """The job has paid already."""
    last = context.paid[-1]
    return Done({"outcome": "sent", "transfer": last.transfer, "txid": last.txid}, clear_flag=False)


def _with_intents(claimed: Claimed, intents: tuple[Intent, ...]) -> Claimed:
    return replace(claimed, context=replace(claimed.context, intents=intents))
