"""A random walk through the life of payments and their jobs, against a model: two senders whose leases come and go, a
chain that takes, forks, fails and outlives, a confirmation worker, and an operator at the worst moments.

What the chain took is kept apart from the books: no walk ever leads to a second payment of one intent.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pipeline.chains.values import Asset, BlockRef, Effect, Payment, SignedTransaction, TransactionResult
from pipeline.db.pool import Connection, pool_of
from pipeline.payments.ending import Finding
from pipeline.payments.intents import Kind, LiveAttempt
from pipeline.payments.send.store import LeaseLost, MayStillLand, MovedOn, StepRefused, TransferStore
from pipeline.payments.settle.store import SettlementStore
from pipeline.queue.jobs import Job, JobType
from tests.db.money import TREASURY
from tests.db.sessions import rows
from tests.db.test_queue_model import Life, execute, walk
from tests.seed import USDT, USDT_CONTRACT

ASSET = Asset("USDT", 6, USDT_CONTRACT)
LIFETIME = timedelta(minutes=3)
UNSENT = ("requested", "signed", "expired")
OUT = ("broadcasting", "included")
SETTLED = ("final", "reverted", "rejected")
GENESIS = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Modelled:
    """A payment as the model has it."""

    id: int
    job: Job
    state: str
    attempts: dict[int, str]
    """State by id; of several only the last is not over."""


class Payments(Life):
    """The life of jobs, and what they pay."""

    job_type = JobType.CONSOLIDATION

    def __init__(self) -> None:
        super().__init__()
        self.confirming = pool_of(self.database, "test", role="pipeline_confirmations", max_size=2)
        self.store = TransferStore(self.queues[0].pool)
        self.settlements = SettlementStore(self.run(self.confirming.__aenter__()))
        self.payments: dict[int, Modelled] = {}
        self.expirations: dict[int, datetime] = {}
        """By attempt."""
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
        """A job that ends gives up what never left."""
        super().becomes(job_id, status)
        if status in ("completed", "failed", "cancelled"):
            for payment in self.of_job(job_id):
                self.give_up_in_model(payment)

    def of_job(self, job_id: UUID) -> list[Modelled]:
        return [payment for payment in self.payments.values() if payment.job.id == job_id]

    def give_up_in_model(self, payment: Modelled) -> None:
        if payment.state in UNSENT:
            payment.state = "rejected"
            payment.attempts = {
                one: "rejected" if state == "signed" else state for one, state in payment.attempts.items()
            }

    def last(self, payment: Modelled) -> int:
        return max(payment.attempts)

    def pick(self, data: st.DataObject, *states: str) -> Modelled:
        return data.draw(st.sampled_from([one for one in self.payments.values() if one.state in states]))

    def attempt_step(self, job: Job, step: Any, *, allowed: bool, error: type[StepRefused] = MovedOn) -> Any:
        """The result of a step that must succeed if the lease is held and it is ``allowed``; else None, refused."""
        if self.mine(job) and allowed:
            return self.run(step)
        with pytest.raises(error if self.mine(job) else LeaseLost):
            self.run(step)
        return None

    # -- senders

    @rule(steps=st.sampled_from([1, 2, 3, 3, 3]))
    def pay(self, steps: int) -> None:
        """A job goes on as far as ``steps``, with nobody in between."""
        ready = [job for _, job in self.held if self.mine(job)]
        if not ready:
            self.claim(0, 1)
            ready = [job for _, job in self.held if self.mine(job)]
        for job in ready:
            payment = next((one for one in self.of_job(job.id) if one.state in UNSENT), None) or self.step_request(job)
            if payment is not None and steps > 1 and payment.state != "signed":
                self.step_sign(payment, job)
            if payment is not None and steps > 2:
                self.step_broadcast(payment, job)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def request(self, data: st.DataObject) -> None:
        self.step_request(data.draw(st.sampled_from(self.held))[1])

    def step_request(self, job: Job) -> Modelled | None:
        of_wallet = [one for one in self.payments.values() if one.job.wallet_id == job.wallet_id]
        under_way = any(one.state not in SETTLED for one in of_wallet)
        given_up = any(
            state == "rejected" and self.expirations[attempt] > self.cursor.timestamp
            for one in of_wallet
            for attempt, state in one.attempts.items()
        )
        paid = any(one.state == "final" for one in self.of_job(job.id))
        wanted = Payment(job.wallet_address, TREASURY, ASSET, 300 * USDT)
        made = self.attempt_step(
            job,
            self.store.request(job, Kind.CONSOLIDATION, self.chain.token_id, wanted, 1),
            allowed=not (under_way or given_up or paid),
            error=MayStillLand if given_up and not paid else MovedOn,
        )
        if made is None:
            return None
        payment = self.payments[made] = Modelled(made, job, "requested", {})
        return payment

    @precondition(lambda self: self.held and self.payments)
    @rule(data=st.data())
    def sign(self, data: st.DataObject) -> None:
        self.step_sign(*self.payment_and_holder(data))

    def step_sign(self, payment: Modelled, job: Job) -> None:
        number = next(self.numbers)
        expiration = self.cursor.timestamp + LIFETIME
        signed = SignedTransaction(
            txid=f"{number:064x}",
            raw=b"%d" % number,
            sender=job.wallet_address,
            fee_cap=1,
            expiration=expiration,
            ref_block=self.cursor.number,
            nonce=None,
        )
        can = payment.job.id == job.id and payment.state in ("requested", "expired")
        made = self.attempt_step(job, self.store.record_signed(job, payment.id, signed), allowed=can)
        if made is not None:
            payment.state, payment.attempts[made] = "signed", "signed"
            self.expirations[made] = expiration

    @precondition(lambda self: self.held and any(one.attempts for one in self.payments.values()))
    @rule(data=st.data())
    def broadcast(self, data: st.DataObject) -> None:
        self.step_broadcast(*self.payment_and_holder(data, signed_once=True))

    def step_broadcast(self, payment: Modelled, job: Job) -> None:
        can = payment.job.id == job.id and payment.state == "signed"
        self.attempt_step(job, self.store.begin_broadcast(job, [self.last(payment)]), allowed=can)
        if self.mine(job) and can:
            payment.state = payment.attempts[self.last(payment)] = "broadcasting"
            self.awaiting.add(job.id)

    @precondition(lambda self: self.held and self.payments)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        payment, job = self.payment_and_holder(data)
        can = payment.job.id == job.id and payment.state in UNSENT
        self.attempt_step(job, self.store.reject(job, payment.id, "decided anew"), allowed=can)
        if self.mine(job) and can:
            self.give_up_in_model(payment)

    def payment_and_holder(self, data: st.DataObject, *, signed_once: bool = False) -> tuple[Modelled, Job]:
        """Mostly what belongs together."""
        payment = data.draw(st.sampled_from([one for one in self.payments.values() if one.attempts or not signed_once]))
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
        self.run(self.settlements.settle_block(self.chain.id, before, block, [Finding(attempt, result)]))
        again = self.run(self.settlements.settle_one(Finding(attempt, result)))
        assert again == []
        if success:
            (key,) = self.run(_keys(self.connection, payment.id))
            self.landed[key] += 1
        payment.state = payment.attempts[attempt.id] = "final" if success else "reverted"
        self.awaiting.discard(payment.job.id)
        self.becomes(payment.job.id, "completed" if success else "failed")

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
            self.awaiting.discard(payment.job.id)
            self.becomes(payment.job.id, "retrying")

    @rule()
    def tidy(self) -> None:
        """What the protocol leaves behind is nothing."""
        assert self.run(self.store.reject_orphans(self.chain.id)) == []
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
    def the_books_say_what_the_model_says(self) -> None:
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
        assert self.awaiting == {one.job.id for one in self.payments.values() if one.state in OUT}
        assert all(self.status[job_id] == "active" for job_id in self.awaiting)


HARMLESS = {("broadcasting", "included"), ("included", "broadcasting")}
"""A person can say that a payment is in a block, or is not; the next round of the confirmations sees for itself."""


async def _keys(connection: Connection, transfer_id: int) -> list[str]:
    return [
        key for (key,) in await rows(connection, "SELECT idempotency_key FROM transfers WHERE id = %s", transfer_id)
    ]


def test_random_walks(database: str) -> None:
    walk(Payments, database, steps=60)
