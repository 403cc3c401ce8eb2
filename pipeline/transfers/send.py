"""One payment from its intent to the node: the sender's half of the protocol.

    open     the intent is committed                               (requested)
    send     build, check, sign; commit the bytes                  (signed)
             commit that they may be anywhere, release the job     (broadcasting)
             send them, note the answer

A worker that meets a job again calls ``resume`` first, which goes on from whatever row is there. From
'broadcasting' on the confirmation worker owns the payment (settle.py) and nothing here touches it.
"""

from dataclasses import dataclass, replace

from loguru import logger
from psycopg import Error as DatabaseTrouble

from pipeline.chains.errors import ChainError, LyingNode
from pipeline.chains.provider import FeeEstimate, Payment, Provider, SignedTransaction
from pipeline.keys.derivation import GAS_INDEX, MAX_INDEX, TREASURY_INDEX, Family
from pipeline.keys.signer import Signer
from pipeline.queue.jobs import Defer, Done, Job, Outcome, Parked
from pipeline.transfers.crashpoints import CrashPoint, crash_here
from pipeline.transfers.intents import Attempt, Context, Intent, Kind
from pipeline.transfers.signing import Authority, SigningRefused, check_intent, check_wallet, signing_index
from pipeline.transfers.states import TransferState
from pipeline.transfers.store import TransferStore
from pipeline.transfers.terms import AssetTerms, Terms

_MEANWHILE_SECONDS = 10.0
"""Until another job's payment of the same wallet is looked at again."""


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
    estimate: FeeEstimate
    transfer_id: int | None = None
    """Set once its intent is committed."""


class Sender:
    """Pays on one chain. Holds the signer, so it exists only in processes that sign."""

    def __init__(
        self, store: TransferStore, provider: Provider, signer: Signer, family: Family, pinned_treasury: str | None
    ) -> None:
        self.store = store
        self.provider = provider
        self._signer = signer
        self._family = family
        self._pinned_treasury = pinned_treasury

    async def authority(self, context: Context) -> Authority:
        """What we derive ourselves for this wallet; an index that has no key derives nothing."""
        index = context.derivation_index
        return Authority(
            gas_address=await self.gas_address(),
            treasury_address=await self.treasury_address(),
            wallet_index=index,
            wallet_address=None
            if index is None or index > MAX_INDEX
            else await self._signer.address(self._family, index),
        )

    async def gas_address(self) -> str:
        return await self._signer.address(self._family, GAS_INDEX)

    async def treasury_address(self) -> str:
        return self._pinned_treasury or await self._signer.address(self._family, TREASURY_INDEX)

    async def resume(self, claimed: Claimed, kind: Kind, terms: Terms) -> Claimed | Outcome:
        """Go on from the row that is there. Returns an outcome, or the job as it has to be decided now.

        Raises StepRefused, SigningRefused and what the provider raises.
        """
        job, context, intent = claimed.job, claimed.context, claimed.context.intent
        if context.paid_transfer is not None:
            data = {"outcome": "sent", "transfer": context.paid_transfer, "txid": context.paid_txid}
            return Done(data, clear_flag=False)
        if intent is not None and intent.job == job.id and intent.is_out:
            await self.store.park(job, intent.id)
            return Parked()
        if intent is not None and intent.job != job.id:
            return await self._leftover(claimed, intent, terms)
        check_wallet(context.address, claimed.authority)
        if intent is None or intent.state is not TransferState.SIGNED or intent.attempt is None:
            return claimed
        return await self._signed(claimed, intent, intent.attempt, kind, terms)

    async def open(self, order: Order) -> int:
        """Commit the intent, or adopt this job's unsent one if it says the same; returns its id. Raises StepRefused."""
        job, intent, payment = order.claimed.job, order.claimed.context.intent, order.payment
        if intent is not None:
            if (intent.asset_id, intent.payment(order.asset.asset)) == (order.asset.id, payment):
                return intent.id
            wanted = order.asset.human(payment.amount)
            await self.store.reject(job, intent.id, f"decided anew: {wanted} to {payment.receiver}")
        return await self.store.request(job, order.kind, order.asset.id, payment)

    async def send(self, order: Order, transfer_id: int, terms: Terms) -> Outcome:
        """Sign an open intent and send it. Raises StepRefused, SigningRefused and what the provider raises; after the
        commit of 'broadcasting' it raises nothing that a node or the database does."""
        job, payment = order.claimed.job, order.payment
        unsigned = await self.provider.build(payment, order.estimate, terms.lifetime_seconds)
        decoded = self.provider.decode(unsigned.raw)
        check_intent(decoded, payment)
        index = signing_index(order.kind, decoded, order.claimed.authority)
        signature = await self._signer.sign_digest(self._family, index, unsigned.digest)
        signed = self.provider.attach(unsigned, signature)
        attempt_id = await self.store.record_signed(job, transfer_id, signed)
        return await self._broadcast(order.claimed, order.kind, order.asset, payment, attempt_id, signed)

    async def give_up(self, claimed: Claimed, reason: str) -> None:
        """Reject the unsent payment of this job, if there is one. Raises StepRefused."""
        intent = claimed.context.intent
        if intent is not None and intent.job == claimed.job.id and not intent.is_out:
            await self.store.reject(claimed.job, intent.id, reason)

    async def _leftover(self, claimed: Claimed, intent: Intent, terms: Terms) -> Claimed | Outcome:
        """Another job's payment stands in the way: it lands first, or is given up if its job has finished."""
        if intent.is_out:
            return Defer(_MEANWHILE_SECONDS, f"transfer {intent.id} of an earlier job of this wallet is on its way")
        if intent.id in await self.store.reject_orphans(terms.chain_id, claimed.context.wallet_id):
            check_wallet(claimed.context.address, claimed.authority)
            return _without_intent(claimed)
        return Defer(_MEANWHILE_SECONDS, f"transfer {intent.id} of an earlier job of this wallet is not settled")

    async def _signed(
        self, claimed: Claimed, intent: Intent, attempt: Attempt, kind: Kind, terms: Terms
    ) -> Claimed | Outcome:
        """Bytes that were kept: send them, however old, unless they are no longer allowed. That they never left is only
        what this database says: one that was restored, or took over with its last commits missing, says it of bytes
        that are out. Old ones are refused by the node, proved dead, and then signed anew."""
        job, signed, asset = claimed.job, attempt.signed, terms.asset(intent.asset_id)
        try:
            if asset is None:
                raise SigningRefused(f"asset {intent.asset_id} is not active any more")
            decoded = self.provider.decode(signed.raw)
            check_intent(decoded, intent.payment(asset.asset))
            signing_index(kind, decoded, claimed.authority)
        except SigningRefused as refusal:
            logger.warning("{} {}: signed bytes given up unsent: {}", job.job_type, claimed.context.address, refusal)
            await self.store.reject(job, intent.id, str(refusal))
            return _without_intent(claimed)
        return await self._broadcast(claimed, kind, asset, decoded, attempt.id, signed)

    async def _broadcast(
        self,
        claimed: Claimed,
        kind: Kind,
        asset: AssetTerms,
        payment: Payment,
        attempt_id: int,
        signed: SignedTransaction,
    ) -> Outcome:
        await self.store.begin_broadcast(claimed.job, attempt_id)
        reply = await send_bytes(self.provider, signed)
        crash_here(CrashPoint.SEND_AFTER)
        _tell(kind, claimed.context.address, asset.human(payment.amount), signed.txid, reply)
        try:
            await self.store.record_reply(attempt_id, reply)
        except DatabaseTrouble as trouble:
            # Nothing hangs on it: the attempt is 'broadcasting', and the chain is asked about it.
            logger.warning("the reply to tx {} was not written down: {}", short(signed.txid), trouble)
        return Parked()


async def send_bytes(provider: Provider, signed: SignedTransaction, repeat: int = 0) -> str:
    """Send the bytes, sent ``repeat`` times before, and put the answer into one line. Whatever it is, it proves
    nothing."""
    try:
        reply = await provider.broadcast(signed, repeat)
    except LyingNode as lie:
        logger.error("tx {}: {}", short(signed.txid), lie)
        return f"lying node: {lie}"
    except ChainError as error:
        return f"{type(error).__name__}: {error}"
    return f"{reply.outcome}: {reply.code} {reply.message}".strip()


def short(txid: str) -> str:
    """``ab12cd34…``, enough to find a transaction by."""
    return f"{txid[:8]}…"


def _without_intent(claimed: Claimed) -> Claimed:
    return replace(claimed, context=replace(claimed.context, intent=None))


def _tell(kind: Kind, wallet: str, amount: str, txid: str, reply: str) -> None:
    line = "{:<6} {} {} {}  (tx {}, {})"
    name, arrow = ("gas", "←") if kind is Kind.GAS else ("tokens", "→")
    logger.info(line, name, wallet, arrow, amount, short(txid), reply)
