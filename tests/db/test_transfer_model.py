"""A random walk through the life of payments and their jobs, against a model: two senders whose leases come and go, a
chain that takes, forks, fails and outlives, a confirmation worker, and an operator at the worst moments.

What the chain took is kept apart from the records: no walk ever leads to a second payment of one intent.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pipeline.chains.fees import TronParameters
from pipeline.chains.kinds import Kind
from pipeline.chains.values import (
    Asset,
    BlockRef,
    Effect,
    Payment,
    SignedTransaction,
    TransactionResult,
    UnsignedTransaction,
)
from pipeline.db.pool import Connection, pool_of
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.asks import Ask, JobAsks
from pipeline.payments.send.first_commit import FirstCommit
from pipeline.payments.send.refusals import LeaseLost, MayStillLand, StateChanged, StepRefused
from pipeline.payments.send.request_store import RequestStore
from pipeline.payments.send.second_commit import HandOver, Kept, Ready, SecondCommit
from pipeline.payments.send.store import TransferStore
from pipeline.payments.settle.store import SettlementStore
from pipeline.queue.jobs import Job, JobType
from tests.db.money import TREASURY
from tests.db.sessions import rows
from tests.db.test_queue_model import Life, execute, walk
from tests.seed import USDT, USDT_CONTRACT

ASSET = Asset("USDT", 6, USDT_CONTRACT)
LIFETIME = timedelta(minutes=3)
UNSENT = ("requested", "expired")
OUT = ("broadcasting", "included")
SETTLED = ("final", "reverted", "rejected")
GENESIS = datetime(2030, 1, 1, tzinfo=UTC)

Result = TypeVar("Result")


async def alone(batch: Awaitable[Sequence[Result | Exception]]) -> Result:
    """The result of the only one of a batch. Raises its trouble."""
    (result,) = await batch
    if isinstance(result, Exception):
        raise result
    return result


@dataclass
class Modelled:
    """A payment as the model has it."""

    id: int
    job: Job
    state: str
    attempts: dict[int, str]
    """State by id; of several only the last is not over."""
    request: OpenRequest | None = None
    """What is asked to be signed, and may have been."""
    refused: list[datetime] = field(default_factory=list)
    """Until when what was refused could land, had it been signed."""


class Payments(Life):
    """The life of jobs, and what they pay."""

    job_type = JobType.CONSOLIDATION

    def __init__(self) -> None:
        super().__init__()
        self.confirming = pool_of(self.database, "test", role="pipeline_confirmations", max_size=2)
        self.store = TransferStore(self.queues[0].pool)
        self.requests = RequestStore(self.queues[0].pool)
        self.first, self.second = FirstCommit(self.queues[0].pool), SecondCommit(self.queues[0].pool)
        self.settlements = SettlementStore(self.run(self.confirming.__aenter__()))
        self.payments: dict[int, Modelled] = {}
        self.expirations: dict[int, datetime] = {}
        """By attempt."""
        self.ended: set[UUID] = set()
        """Jobs that have ended once."""
        self.asked_until: dict[UUID, datetime] = {}
        """By request."""
        self.cursor = BlockRef(1, "b1", GENESIS)
        self.landed: Counter[str] = Counter()
        """Payments on the chain, by idempotency key."""
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        self.run(self.confirming.__aexit__(None, None, None))
        super().teardown()

    @initialize()
    def begin_reading(self) -> None:
        self.run(self.settlements.advance(self.chain.id, None, self.cursor))

    def becomes(self, job_id: UUID, status: str) -> None:
        """A job that ends gives up what nobody is asked to sign."""
        super().becomes(job_id, status)
        if status in ("completed", "failed", "cancelled"):
            self.ended.add(job_id)
            for payment in self.of_job(job_id):
                self.give_up_in_model(payment)

    def of_job(self, job_id: UUID) -> list[Modelled]:
        return [payment for payment in self.payments.values() if payment.job.id == job_id]

    def give_up_in_model(self, payment: Modelled) -> None:
        if payment.state in UNSENT and payment.request is None:
            payment.state = "rejected"

    def last(self, payment: Modelled) -> int:
        return max(payment.attempts)

    def pick(self, data: st.DataObject, *states: str) -> Modelled:
        return data.draw(st.sampled_from([one for one in self.payments.values() if one.state in states]))

    def attempt_step(self, job: Job, step: Any, *, allowed: bool, error: type[StepRefused] = StateChanged) -> Any:
        """The result of a step that must succeed if the lease is held and it is ``allowed``; else None, refused."""
        if self.mine(job) and allowed:
            return self.run(step)
        with pytest.raises(error if self.mine(job) else LeaseLost):
            self.run(step)
        return None

    # -- senders

    @rule(steps=st.sampled_from([1, 2, 2, 2]))
    def pay(self, steps: int) -> None:
        """A job goes on as far as ``steps``, with nobody in between."""
        ready = [job for _, job in self.held if self.mine(job)]
        if not ready:
            self.claim(0, 1)
            ready = [job for _, job in self.held if self.mine(job)]
        for job in ready:
            payment = next((one for one in self.of_job(job.id) if one.state in UNSENT), None)
            if payment is None or payment.request is None:
                payment = self.step_ask(job)
            if payment is not None and steps > 1:
                self.step_keep(payment, job)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self.step_ask(data.draw(st.sampled_from(self.held))[1])

    def step_ask(self, job: Job) -> Modelled | None:
        """The first commit."""
        of_wallet = [one for one in self.payments.values() if one.job.wallet_id == job.wallet_id]
        own = next((one for one in self.of_job(job.id) if one.state in UNSENT), None)
        under_way = any(one.state not in SETTLED for one in of_wallet)
        waits = any(until > self.cursor.timestamp for one in of_wallet for until in one.refused)
        paid = any(one.state == "final" for one in self.of_job(job.id))
        wanted = Payment(job.wallet_address, TREASURY, ASSET, 300 * USDT)
        if own is not None:
            allowed, error = own.request is None, StateChanged
        else:
            allowed, error = not (under_way or waits or paid), MayStillLand if waits and not paid else StateChanged
        unsigned = UnsignedTransaction(
            payments=(wanted,),
            raw=b"%d" % next(self.numbers),
            digests=(b"",),
            fee_cap=1,
            expiration=self.cursor.timestamp + LIFETIME,
            ref_block=self.cursor.number,
        )
        parameters = TronParameters(self.cursor.number, "00" * 32, self.cursor.timestamp + LIFETIME, GENESIS)
        ask = Ask(
            Kind.CONSOLIDATION,
            self.chain.token_id,
            wanted,
            1,
            lambda _: (parameters, unsigned),
            job.wallet_id,
            None,
            job.wallet_address,
            transfer_id=None if own is None else own.id,
        )
        made = self.attempt_step(job, alone(self.first.make([JobAsks(job, [ask])], None)), allowed=allowed, error=error)
        if made is None:
            return None
        (request,) = made
        payment = self.payments.setdefault(request.transfer, Modelled(request.transfer, job, "requested", {}))
        payment.state, payment.request = "requested", request
        self.asked_until[request.id] = self.cursor.timestamp + LIFETIME
        return payment

    @precondition(lambda self: self.held and any(one.request for one in self.payments.values()))
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        payment, job = self.payment_and_holder(data, asked=True)
        self.step_keep(payment, job)

    def kept(self, payment: Modelled) -> Kept:
        assert payment.request is not None
        number = next(self.numbers)
        signed = SignedTransaction(f"{number:064x}", b"%d" % number, payment.request.payment.sender, 1)
        return Kept(payment.request, signed)

    def step_keep(self, payment: Modelled, job: Job) -> None:
        """The second commit, by who holds the job."""
        can = payment.job.id == job.id
        made = self.attempt_step(job, alone(self.second.make([HandOver([self.kept(payment)], job)])), allowed=can)
        if made is not None:
            self.goes_out(payment, made[0])

    @precondition(lambda self: any(one.request for one in self.payments.values()))
    @rule(data=st.data())
    def keep_for_another(self, data: st.DataObject) -> None:
        """Whoever has the keys may finish a request, whatever became of its job."""
        payment = data.draw(st.sampled_from([one for one in self.payments.values() if one.request]))
        (ready,) = self.run(alone(self.second.make([HandOver([self.kept(payment)])])))
        self.goes_out(payment, ready)

    def goes_out(self, payment: Modelled, ready: Ready) -> None:
        payment.state = payment.attempts[ready.attempt_id] = "broadcasting"
        self.expirations[ready.attempt_id] = self.asked_until[ready.request.id]
        again, payment.request = payment.request, None
        job = payment.job.id
        if self.status[job] in ("pending", "active", "retrying"):
            if self.status[job] != "active":
                self.lease[job] += 1
                self.status[job] = "active"
            self.awaiting.add(job)
        assert again is not None
        with pytest.raises(StateChanged):
            self.run(alone(self.second.make([HandOver([Kept(again, ready.signed)])])))
        assert not self.run(self.requests.refuse(again, "no", reject=True))

    @precondition(lambda self: any(one.request for one in self.payments.values()))
    @rule(data=st.data(), reject=st.booleans())
    def refuse(self, data: st.DataObject, reject: bool) -> None:
        """The signer says that it never signed it, and never will."""
        payment = data.draw(st.sampled_from([one for one in self.payments.values() if one.request]))
        assert payment.request is not None
        ended = self.status[payment.job.id] in ("completed", "failed", "cancelled")
        assert self.run(self.requests.refuse(payment.request, "no", reject=reject or ended))
        payment.refused.append(self.asked_until[payment.request.id])
        payment.request = None
        if reject or ended:
            payment.state = "rejected"

    @precondition(lambda self: self.held and self.payments)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        payment, job = self.payment_and_holder(data)
        can = payment.job.id == job.id and payment.state in UNSENT and payment.request is None
        self.attempt_step(job, self.store.reject(job, payment.id, "decided anew"), allowed=can)
        if self.mine(job) and can:
            self.give_up_in_model(payment)

    def payment_and_holder(self, data: st.DataObject, *, asked: bool = False) -> tuple[Modelled, Job]:
        """Mostly what belongs together."""
        payment = data.draw(st.sampled_from([one for one in self.payments.values() if one.request or not asked]))
        own = [job for _, job in self.held if job.id == payment.job.id] if data.draw(st.integers(0, 4)) else []
        return payment, data.draw(st.sampled_from(own or [job for _, job in self.held]))

    # -- the chain, and who follows it

    @precondition(lambda self: any(one.state in OUT for one in self.payments.values()))
    @rule(data=st.data(), success=st.sampled_from([True, True, False]))
    def settle(self, data: st.DataObject, success: bool) -> None:
        """In a final block: together with the cursor, and a second time by a worker that does not know."""
        payment = self.pick(data, *OUT)
        attempt = self.live(payment)
        block = BlockRef(self.cursor.number + 1, f"b{self.cursor.number + 1}", self.cursor.timestamp)
        moved = attempt.payments[0]
        effect = Effect(USDT_CONTRACT, moved.sender, moved.receiver, moved.amount, "l0")
        result = TransactionResult(attempt.signed.txid, block, success, 7, (effect,) if success else ())
        before, self.cursor = self.cursor, block
        self.run(self.settlements.settle_block(self.chain.id, before, block, [FoundAttempt(attempt, result)]))
        again = self.run(self.settlements.settle_one(FoundAttempt(attempt, result)))
        assert again == []
        if success:
            (key,) = self.run(_keys(self.connection, payment.id))
            self.landed[key] += 1
        payment.state = payment.attempts[attempt.id] = "final" if success else "reverted"
        self.ends(payment, "completed" if success else "failed")

    def ends(self, payment: Modelled, status: str) -> None:
        """Its job with it, unless that has ended before."""
        if payment.job.id in self.awaiting:
            self.awaiting.discard(payment.job.id)
            self.becomes(payment.job.id, status)

    @precondition(lambda self: any(one.state in OUT for one in self.payments.values()))
    @rule(data=st.data())
    def see_in_a_block(self, data: st.DataObject) -> None:
        payment = self.pick(data, *OUT)
        attempt = self.live(payment)
        block = BlockRef(self.cursor.number + data.draw(st.integers(1, 3)), "seen", self.cursor.timestamp)
        self.run(self.settlements.include([(attempt, block)]))
        payment.state = payment.attempts[attempt.id] = "included"

    @precondition(lambda self: any(one.state == "included" for one in self.payments.values()))
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        payment = self.pick(data, "included")
        attempt = self.live(payment)
        assert self.run(self.settlements.reorg([attempt])) == {attempt.id}
        payment.state = payment.attempts[attempt.id] = "broadcasting"

    @rule(minutes=st.sampled_from([1, 2, 4]))
    def read_on(self, minutes: int) -> None:
        """Final blocks, in which nothing was found."""
        number = self.cursor.number + 1
        before, self.cursor = (
            self.cursor,
            BlockRef(number, f"b{number}", self.cursor.timestamp + timedelta(minutes=minutes)),
        )
        self.run(self.settlements.advance(self.chain.id, before, self.cursor))

    @precondition(lambda self: any(one.state in OUT for one in self.payments.values()))
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        """Only what is in no block, and cannot get into one any more."""
        payment = self.pick(data, *OUT)
        attempt = self.live(payment)
        burial = self.settlements.expire(self.chain.id, [attempt], "proved dead")
        if payment.state == "broadcasting" and self.cursor.timestamp < self.expirations[attempt.id]:
            with pytest.raises(psycopg.Error) as refused:
                self.run(burial)
            assert refused.value.sqlstate == "FP003"
            return
        done = self.run(burial)
        assert (done is not None) == (payment.state == "broadcasting")
        if done is not None:
            payment.state = payment.attempts[attempt.id] = "expired"
            self.ends(payment, "retrying")

    @rule()
    def tidy(self) -> None:
        """What the protocol leaves behind is what died after its job had ended."""
        left = [one for one in self.payments.values() if one.state in UNSENT and one.request is None]
        ended = [one for one in left if self.status[one.job.id] in ("completed", "failed", "cancelled")]
        assert self.run(self.store.reject_orphans(self.chain.id)) == [one.id for one in ended]
        for one in ended:
            self.give_up_in_model(one)
        assert self.run(self.settlements.release_stranded(self.chain.id)) == 0

    def live(self, payment: Modelled) -> LiveAttempt:
        (found,) = [one for one in self.run(self.settlements.live(self.chain.id)) if one.bundle_id == payment.id]
        assert found.id == self.last(payment)
        return found

    # -- an operator who means well

    @precondition(lambda self: self.payments)
    @rule(data=st.data(), state=st.sampled_from([*UNSENT, *OUT, *SETTLED]))
    def edit(self, data: st.DataObject, state: str) -> None:
        """At psql, one row by hand: money that may land, or has, does not become anything else."""
        payment = data.draw(st.sampled_from(list(self.payments.values())))
        end = "now()" if state in SETTLED else "NULL"
        query = f"UPDATE transfers SET state = %s, settled_at = {end} WHERE id = %s"  # noqa: S608
        if payment.state in (*OUT, *SETTLED) and state != payment.state and (payment.state, state) not in HARMLESS:
            with pytest.raises(psycopg.Error) as refused:
                self.run(execute(self.connection, query, state, payment.id))
            assert refused.value.sqlstate in ("FP003", "FP004")

    # -- what must hold

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        transfers = self.run(rows(self.connection, "SELECT id, state FROM transfers"))
        assert dict(transfers) == {one.id: one.state for one in self.payments.values()}
        attempts = self.run(rows(self.connection, "SELECT id, state FROM chain_transactions"))
        assert dict(attempts) == {
            attempt: state for one in self.payments.values() for attempt, state in one.attempts.items()
        }

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        assert not self.landed or max(self.landed.values()) == 1
        by_job = Counter(one.job.id for one in self.payments.values() if one.state == "final")
        assert not by_job or max(by_job.values()) == 1

    @invariant()
    def who_waits_for_the_chain_has_something_there(self) -> None:
        out = {one.job.id for one in self.payments.values() if one.state in OUT}
        assert out - self.ended <= self.awaiting <= out, "a job that had ended before is parked by who claims it again"
        assert all(self.status[job_id] == "active" for job_id in self.awaiting)


HARMLESS = {("broadcasting", "included"), ("included", "broadcasting")}
"""A person can say that a payment is in a block, or is not; the next round of the confirmations sees for itself."""


async def _keys(connection: Connection, transfer_id: int) -> list[str]:
    return [
        key for (key,) in await rows(connection, "SELECT idempotency_key FROM transfers WHERE id = %s", transfer_id)
    ]


def test_random_walks(database: str) -> None:
    walk(Payments, database, steps=60)
