"""From a request to bytes that are on their way: ask the signer, check its answer, make the second commit, send.

Whoever has the keys may do this for any request: the signer gives the same bytes for the same request, and the second
commit happens once. What it answers is read back and compared with the intent before it is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from loguru import logger
from psycopg import Error as DatabaseTrouble

from pipeline.chains.errors import BadSignature, UndecodableTransaction
from pipeline.chains.kinds import Kind
from pipeline.chains.provider import Provider
from pipeline.chains.values import SignedTransaction
from pipeline.db.errors import refused_by_guard
from pipeline.payments.broadcast import in_short, send_bytes, short
from pipeline.payments.crashpoints import FIRST, GAP, REPLACEMENT, CrashPoint, Passage, crash_here
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.refusals import StateChanged
from pipeline.payments.send.request_store import Kept, Ready, RequestStore
from pipeline.payments.send.store import TransferStore
from pipeline.queue.jobs import Job
from pipeline.signing.authority import check_intent
from pipeline.signing.errors import SigningRefused
from pipeline.signing.networks import Network
from pipeline.signing.request import Answer, Never, RefusedLater, RefusedNever, Signed, Signer
from pipeline.units import to_human


@dataclass(slots=True)
class Answered:
    """What became of requests."""

    ready: list[Ready] = field(default_factory=list)
    never: list[RefusedNever] = field(default_factory=list)
    later: list[RefusedLater] = field(default_factory=list)


class Signatures:
    """Of one chain."""

    def __init__(self, store: TransferStore, provider: Provider, signer: Signer, network: Network) -> None:
        self._store = store
        self.requests = RequestStore(store.pool)
        self._provider = provider
        self._signer = signer
        self._network = network

    async def obtain(
        self,
        requests: Sequence[OpenRequest],
        job: Job | None = None,
        not_sent: Mapping[str, str] | None = None,
    ) -> Answered:
        """Have a batch of one sender signed and kept, as far as it goes, and refusals written down; nothing is sent
        yet. ``job``: the requests are its own, and it still holds its lease; the rest of it is decided anew.

        Raises LeaseLost, StateChanged."""
        asked = [one.to_signer(self._network.family, self._network.id) for one in requests]
        answers = await self._signer.sign(asked)
        return await self._book(requests, answers, job, not_sent)

    async def finish(self, requests: Sequence[OpenRequest], job: Job | None = None) -> Answered:
        """Go on with requests that stand in rows, one after the other, each as it stands there: what is still wanted is
        signed and kept; what nobody waits for any more, or is over, is withdrawn first. Of one sender, and the first
        that is refused for now ends it."""
        answers: list[Answer] = []
        for one in requests:
            told = [one.to_signer(self._network.family, self._network.id)]
            is_due = one.is_wanted and not one.is_over
            (answer,) = await (self._signer.sign(told) if is_due else self._signer.withdraw(told))
            answers.append(answer)
            if isinstance(answer, RefusedLater):
                break
        return await self._book(requests[: len(answers)], answers, job, None)

    async def finish_open(
        self, chain_id: int, kinds: Sequence[Kind], sender: str | None = None
    ) -> tuple[int, list[RefusedLater]]:
        """Have every request signed, or given up, that nobody follows any more, of a sender or of all; how many
        transactions were sent, and what was refused for now. One that the database refuses to keep, or to give up,
        holds up none of the others. Raises psycopg.Error."""
        found = await self.requests.open(chain_id, kinds, sender)
        sent, later = 0, list[RefusedLater]()
        for _, group in groupby(found, key=lambda one: one.payment.sender):
            for one in group:
                try:
                    answered = await self.finish([one])
                except StateChanged as moved:
                    logger.debug("{}", moved)
                    continue
                except DatabaseTrouble as refusal:
                    if not refused_by_guard(refusal):
                        raise
                    logger.error("request {}: the database refuses this step: {}", one.id, refusal)
                    continue
                await self.send(answered.ready)
                sent += len(answered.ready)
                later += answered.later
                if answered.later:
                    break
        return sent, later

    async def send(self, ready: Sequence[Ready]) -> None:
        """A courtesy that anyone may repeat; raises nothing that a node or the database does."""
        for one in ready:
            reply = await send_bytes(self._provider, one.signed)
            crash_here(_passage(one.request).sent)
            _tell(one, reply)
            try:
                await self._store.record_reply(one.attempt_id, reply)
            except DatabaseTrouble as trouble:
                # Nothing hangs on it: the attempt is 'broadcasting', and the chain is asked about it.
                logger.warning("the reply to tx {} was not stored: {}", short(one.signed.txid), trouble)

    async def _book(
        self,
        requests: Sequence[OpenRequest],
        answers: Sequence[Answer],
        job: Job | None,
        not_sent: Mapping[str, str] | None,
    ) -> Answered:
        answered = Answered()
        kept: list[Kept] = []
        refused: list[tuple[OpenRequest, RefusedNever]] = []
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Signed):
                checked = self._checked(request, answer)
                if isinstance(checked, RefusedLater):
                    logger.error("request {}: {}", request.id, checked.reason)
                    answered.later.append(checked)
                else:
                    kept.append(Kept(request, checked))
            elif isinstance(answer, RefusedLater):
                answered.later.append(answer)
            else:
                refused.append((request, answer))
        if kept:
            passage = _passage(kept[0].request)
            crash_here(passage.signed)
        if refused:
            crash_here(CrashPoint.REFUSE_BEFORE)
        # Before the job is handed over, and the last nonce first, so that each is the last one when it is given back.
        for request, never in reversed(refused):
            reject = never.why is Never.FORBIDDEN or not request.is_wanted
            if await self.requests.refuse(request, never.reason, reject=reject, job=job):
                logger.warning("transfer {} was not signed: {}", request.transfer, never.reason)
            answered.never.insert(0, never)
        if kept:
            answered.ready = await self.requests.keep(kept, job, not_sent, passage)
        return answered

    def _checked(self, request: OpenRequest, answer: Signed) -> SignedTransaction | RefusedLater:
        """The bytes, if they are what was asked for, and do what the intent says."""
        codec, payment = self._provider.codec, request.payment
        try:
            unsigned = codec.build(payment, request.parameters)
            if unsigned.raw != request.unsigned:
                return RefusedLater(str(request.id), "its row does not make the bytes that were asked for")
            signed = codec.attach(unsigned, answer.signature)
            if (signed.raw, signed.txid) != (answer.raw, answer.txid):
                return RefusedLater(str(request.id), f"the signer gives bytes that nobody asked for ({answer.txid})")
            check_intent(codec.decode(signed.raw, payment.sender), payment)
        except (BadSignature, UndecodableTransaction, SigningRefused, ValueError) as wrong:
            return RefusedLater(str(request.id), f"the signer's answer is not what was asked for: {wrong}")
        return signed


def _passage(request: OpenRequest) -> Passage:
    if request.replaces is not None:
        return REPLACEMENT
    return GAP if request.kind is Kind.GAP else FIRST


def _tell(one: Ready, reply: str) -> None:
    reply = in_short(reply)
    request, txid = one.request, short(one.signed.txid)
    asset = request.payment.asset
    amount = f"{to_human(request.payment.amount, asset.decimals)} {asset.symbol}"
    if request.replaces is not None:
        logger.info("replaced nonce {} of {} by tx {} ({})", one.signed.nonce, one.signed.sender, txid, reply)
    elif request.kind is Kind.GAP:
        logger.warning("filled nonce {} of {} (tx {}, {})", one.signed.nonce, one.signed.sender, txid, reply)
    else:
        name, arrow = ("gas", "←") if request.kind is Kind.GAS else ("consolidation", "→")
        logger.info("sent {} {} {} {} (tx {}, {})", name, request.wallet, arrow, amount, txid, reply)
