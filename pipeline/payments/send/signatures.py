"""From a request to bytes that are on their way: ask the signer, check its answer, make the second commit, send.

Whoever has the keys may do this for any request: the signer gives the same bytes for the same request, and the second
commit happens once. What it answers is read back and compared with the intent before it is kept.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from loguru import logger
from psycopg import Error as DatabaseTrouble

from pipeline.chains.errors import BadSignature, UndecodableTransaction
from pipeline.chains.kinds import Kind
from pipeline.chains.provider import Provider
from pipeline.chains.values import SignedTransaction
from pipeline.db.errors import DATABASE_GONE, refused_by_guard
from pipeline.payments.broadcast import in_short, send_bytes, short
from pipeline.payments.crashpoints import FIRST, GAP, REPLACEMENT, CrashPoint, Passage, crash_here
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.refusals import LeaseLost, StateChanged
from pipeline.payments.send.request_store import RequestStore
from pipeline.payments.send.second_commit import HandOver, Kept, Ready, SecondCommit
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


@dataclass(frozen=True, slots=True, eq=False)
class Signable:
    """What one job asks signatures for, or nobody's attempt; compared and hashed by identity."""

    requests: Sequence[OpenRequest]
    job: Job | None = None
    """It still has to hold its lease; None: whoever holds the job of these requests, it is taken over."""
    not_sent: Mapping[str, str] = field(default_factory=dict)
    """What the job could not pay: reasons by symbol."""


class Signatures:
    """Of one chain."""

    def __init__(
        self, store: TransferStore, provider: Provider, signer: Signer, network: Network, node_slots: asyncio.Semaphore
    ) -> None:
        self._store = store
        self.requests = RequestStore(store.pool)
        self._second = SecondCommit(store.pool)
        self._provider = provider
        self._signer = signer
        self._network = network
        self._node_slots = node_slots

    async def obtain(self, batch: Sequence[Signable]) -> list[Answered | Exception]:
        """Have all signed and kept, as far as it goes, and refusals written down; nothing is sent yet. What became of
        each, or its trouble: LeaseLost, StateChanged, what a guard refuses, an outage."""
        asked = [[(one, request) for request in one.requests] for one in batch]
        if any(request.is_numbered for one in batch for request in one.requests):
            # Of one sender the nonces follow each other: what is behind one that is refused is not signed.
            everything = sorted((pair for pairs in asked for pair in pairs), key=lambda pair: pair[1].payment.sender)
            asked = [list(pairs) for _, pairs in groupby(everything, key=lambda pair: pair[1].payment.sender)]
        answers: dict[Signable, list[tuple[OpenRequest, Answer]]] = {one: [] for one in batch}
        said = await asyncio.gather(
            *(self._sign([request for _, request in pairs]) for pairs in asked), return_exceptions=True
        )
        troubles: dict[Signable, Exception] = {}
        for pairs, told in zip(asked, said, strict=True):
            if isinstance(told, Exception):
                troubles |= dict.fromkeys((one for one, _ in pairs), told)
                continue
            if isinstance(told, BaseException):
                raise told
            for (one, request), answer in zip(pairs, told, strict=True):
                answers[one].append((request, answer))
        booked = await self._book(answers)
        return [troubles.get(one, result) for one, result in zip(batch, booked, strict=True)]

    async def obtain_one(self, request: OpenRequest) -> Answered:
        """The same for one that is nobody's attempt. Raises StateChanged, psycopg.Error."""
        return _or_raise((await self.obtain([Signable([request])]))[0])

    async def finish(self, requests: Sequence[OpenRequest], job: Job | None = None) -> Answered:
        """Go on with requests that stand in rows, one after the other, each as it stands there: what is still wanted is
        signed and kept; what nobody waits for any more, or is over, is withdrawn first. Of one sender, and the first
        that is refused for now ends it. Raises LeaseLost, StateChanged, psycopg.Error."""
        answers: list[tuple[OpenRequest, Answer]] = []
        for one in requests:
            told = [one.to_signer(self._network.family, self._network.id)]
            is_due = one.is_wanted and not one.is_over
            (answer,) = await (self._signer.sign(told) if is_due else self._signer.withdraw(told))
            answers.append((one, answer))
            if isinstance(answer, RefusedLater):
                break
        return _or_raise((await self._book({Signable(requests, job): answers}))[0])

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
            async with self._node_slots:
                reply = await send_bytes(self._provider, one.signed)
            crash_here(_passage(one.request).sent)
            _tell(one, reply)
            try:
                await self._store.record_reply(one.attempt_id, reply)
            except DatabaseTrouble as trouble:
                # Nothing hangs on it: the attempt is 'broadcasting', and the chain is asked about it.
                logger.warning("the reply to tx {} was not stored: {}", short(one.signed.txid), trouble)

    async def _sign(self, requests: Sequence[OpenRequest]) -> list[Answer]:
        return await self._signer.sign([one.to_signer(self._network.family, self._network.id) for one in requests])

    async def _book(
        self, answers: Mapping[Signable, Sequence[tuple[OpenRequest, Answer]]]
    ) -> list[Answered | Exception]:
        """Write down what the signer said."""
        booked: dict[Signable, Answered | Exception] = {one: Answered() for one in answers}
        kept: dict[Signable, list[Kept]] = {one: [] for one in answers}
        refused: list[tuple[Signable, OpenRequest, RefusedNever]] = []
        for one, said in answers.items():
            for request, answer in said:
                checked = self._checked(request, answer) if isinstance(answer, Signed) else answer
                if isinstance(checked, SignedTransaction):
                    kept[one].append(Kept(request, checked))
                elif isinstance(checked, RefusedNever):
                    refused.append((one, request, checked))
                else:
                    _of(booked, one).later.append(checked)
        passage = next((_passage(those[0].request) for those in kept.values() if those), FIRST)
        if any(kept.values()):
            crash_here(passage.signed)
        if refused:
            crash_here(CrashPoint.REFUSE_BEFORE)
        # Before jobs are handed over, and the last nonce first, so that each is the last one when it is given back.
        for one, request, never in sorted(refused, key=lambda those: those[1].nonce or 0, reverse=True):
            await self._refuse(booked, one, request, never)
        going = [one for one, those in kept.items() if those and not isinstance(booked[one], Exception)]
        kept_now = await self._second.make([HandOver(kept[one], one.job, one.not_sent) for one in going], passage)
        for one, result in zip(going, kept_now, strict=True):
            if isinstance(result, Exception):
                booked[one] = result
            else:
                _of(booked, one).ready = result
        return [booked[one] for one in answers]

    async def _refuse(
        self, booked: dict[Signable, Answered | Exception], one: Signable, request: OpenRequest, never: RefusedNever
    ) -> None:
        reject = never.why is Never.FORBIDDEN or not request.is_wanted
        try:
            if await self.requests.refuse(request, never.reason, reject=reject, job=one.job):
                logger.warning("transfer {} was not signed: {}", request.transfer, never.reason)
        except (LeaseLost, *DATABASE_GONE, DatabaseTrouble) as trouble:
            booked[one] = trouble
        if not isinstance(booked[one], Exception):
            _of(booked, one).never.insert(0, never)

    def _checked(self, request: OpenRequest, answer: Signed) -> SignedTransaction | RefusedLater:
        """The bytes, if they are what was asked for, and do what the intent says."""
        checked = self._compared(request, answer)
        if isinstance(checked, RefusedLater):
            logger.error("request {}: {}", request.id, checked.reason)
        return checked

    def _compared(self, request: OpenRequest, answer: Signed) -> SignedTransaction | RefusedLater:
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


def _of(booked: Mapping[Signable, Answered | Exception], one: Signable) -> Answered:
    """What became of it. Raises its trouble."""
    return _or_raise(booked[one])


def _or_raise(answered: Answered | Exception) -> Answered:
    if isinstance(answered, Exception):
        raise answered
    return answered


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
