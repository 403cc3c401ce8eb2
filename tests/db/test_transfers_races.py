"""The protocol against everything that can come in between its steps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from pipeline.chains.kinds import Kind
from pipeline.chains.values import BalanceQuery, Finality
from pipeline.db.pool import Pool
from pipeline.payments.requests import OpenRequest
from pipeline.payments.send.refusals import LeaseLost, StateChanged
from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Parked
from pipeline.signing.request import Answer, Signed, SigningRequest
from tests.chaos.world import Desk, World
from tests.db.paying_kit import claim, leave_asked, outlived, requests, rescue, send_answer, states
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


class TestLease:
    @pytest.mark.parametrize("step", ["estimate", "prepare"])
    async def test_lost_between_steps_nothing_is_sent(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet, step: str
    ) -> None:
        """The job is rescued and run by another worker while the first is still at it: one payment."""
        job = await claim(desk, GAS)

        async def somebody_else_does_it() -> None:
            await rescue(world, job)
            assert [outcome for _, outcome in await other_desk.run(GAS)] == [Parked()]

        desk.provider.before(step, somebody_else_does_it)
        await desk.run(GAS, [job])
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        await world.assert_database_equals_chain()
        assert (await states(world))[0] == ["completed"]

    @pytest.mark.parametrize("signed", [False, True])
    async def test_lost_between_the_commits_the_bytes_stay_here(
        self, world: World, desk: Desk, thirsty: Wallet, signed: bool
    ) -> None:
        job = await claim(desk, GAS)
        sign = desk.signer.sign

        async def lose_it(requests: Sequence[SigningRequest]) -> list[Answer]:
            answers = await sign(requests) if signed else []
            await rescue(world, job)
            return answers or await sign(requests)

        desk.signer.sign = lose_it  # type: ignore[method-assign]
        await desk.run(GAS, [job])
        desk.signer.sign = sign  # type: ignore[method-assign]
        assert (await world.devnet.status()).pending == ()
        assert await states(world) == (["retrying"], ["requested"], [])
        assert await requests(world) == ["asked"]

    async def test_an_older_lease_can_take_no_step(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """The job is active again under a newer lease and everything else is as the old worker left it."""
        await leave_asked(world, desk, signed=True)
        new = await claim(other_desk, GAS)
        old = replace(new, lease=new.lease - 1)
        request = await self.request_of(desk, new)
        (transfer,) = await world.transfers()
        steps = [
            desk.sender.signatures.finish([request], old),
            desk.sender.signatures.requests.refuse(request, "no", reject=True, job=old),
            desk.store.reject(old, transfer["id"], "no"),
            desk.store.park(old, transfer["id"]),
        ]
        for step in steps:
            with pytest.raises(LeaseLost):
                await step
        assert await states(world) == (["active"], ["requested"], [])
        assert (await desk.sender.signatures.finish([request], new)).ready

    async def test_another_jobs_payment_is_left_where_it_is(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Refused like any step that came too late, and not by an error of the database."""
        await leave_asked(world, desk, signed=True)
        other = await world.wallet(usdt=250 * USDT)
        await world.devnet.solidify()
        await world.flag(other, gas=True)
        another, owner = sorted(
            await other_desk.queue.enqueue_and_claim(GAS, 10), key=lambda job: job.wallet_id == thirsty.id
        )
        request = await self.request_of(desk, owner)
        with pytest.raises(StateChanged):
            await desk.sender.signatures.finish([request], another)
        assert (await desk.sender.signatures.finish([request], owner)).ready

    async def test_a_payment_that_has_its_bytes_can_be_given_up_by_nobody(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Two have asked the signer for the same; one of them is faster, the other comes too late with any answer."""
        await leave_asked(world, desk)
        request = await self.request_of(desk, await claim(other_desk, GAS))
        assert (await desk.sender.signatures.finish([request])).ready
        with pytest.raises(StateChanged):
            await other_desk.sender.signatures.finish([request])
        assert not await desk.sender.signatures.requests.refuse(request, "no", reject=True)
        assert (await states(world))[1:] == (["broadcasting"], ["broadcasting"])

    @staticmethod
    async def request_of(desk: Desk, job: Job) -> OpenRequest:
        (intent,) = (await desk.store.contexts([job], Kind.GAS))[job.id].own
        assert intent.request is not None
        return intent.request

    async def test_two_workers_on_the_same_job(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Both hold what they take for a valid claim; only the newer lease can act."""
        old = await claim(desk, GAS)
        await rescue(world, old)
        new = await claim(other_desk, GAS)
        assert new.lease == old.lease + 1
        await asyncio.gather(desk.run(GAS, [old]), other_desk.run(GAS, [new]))
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        assert (await states(world))[1] == ["final"]

    async def test_the_same_attempt_run_twice_at_once(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """No two workers ever hold the same lease; if they did, one would stop the other and the job run again."""
        job = await claim(desk, GAS)
        await asyncio.gather(desk.run(GAS, [job]), other_desk.run(GAS, [job]))
        await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
        await desk.run(GAS)
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        await world.assert_database_equals_chain()


class TestResume:
    async def test_a_requested_payment_goes_on_under_its_key(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await leave_asked(world, desk)
        assert await states(world) == (["retrying"], ["requested"], [])
        (job,) = await world.jobs()
        await desk.run(GAS)
        await desk.settle()
        (transfer,) = await world.transfers()
        assert transfer["idempotency_key"] == f"gas:{job['id']}:{world.native_id}:0"
        assert len(await world.paid_gas()) == 1

    @pytest.mark.parametrize("signed", [False, True])
    async def test_what_was_asked_for_is_asked_for_again_as_it_is(
        self, world: World, desk: Desk, thirsty: Wallet, signed: bool
    ) -> None:
        """The same request, whether the signer has answered it or not: and the same bytes."""
        answers = await leave_asked(world, desk, signed=signed)
        (before,) = await world.rows("SELECT request_id, unsigned_bytes FROM signing_requests")
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await desk.settle()
        (after,) = await world.attempts()
        assert (after["request_id"], after["state"]) == (before["request_id"], "final")
        assert [after["txid"]] == [answer.txid for answer in answers if isinstance(answer, Signed)] or not signed
        assert bytes(before["unsigned_bytes"]) in bytes(after["signed_bytes"])
        assert [one.txid for one in await world.paid_gas()] == [after["txid"]]

    async def test_what_another_host_has_signed_comes_out_the_same(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """It has a ledger of its own, and the same keys."""
        (answer,) = await leave_asked(world, desk, signed=True)
        assert [outcome for _, outcome in await other_desk.run(GAS)] == [Parked()]
        (attempt,) = await world.attempts()
        assert isinstance(answer, Signed)
        assert (attempt["txid"], bytes(attempt["signed_bytes"])) == (answer.txid, answer.raw)

    async def test_bytes_that_grew_old_are_proved_dead_before_others_are_signed(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await leave_asked(world, desk, signed=True)
        await world.devnet.advance(61)
        await world.devnet.mine(3)
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await world.devnet.mine(10, step_seconds=3)
        await desk.settlement.round()
        assert (await states(world))[1:] == (["expired"], ["expired"])
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[1:] == (["final"], ["expired", "final"])
        assert len(await world.paid_gas()) == 1

    async def test_bytes_that_left_before_a_failover_lost_the_commit_are_not_signed_anew(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """The new primary says 'asked' of bytes that are out. They are nearly expired, in no block yet, and the node
        that is asked has not heard of them."""
        (answer,) = await leave_asked(world, desk, signed=True)
        await send_answer(desk, answer)
        await world.devnet.hold()
        await world.devnet.advance(45)
        await world.devnet.mine(1, empty=True)
        balances = desk.real_provider.balances

        async def without_the_pool(queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> object:
            return await balances(queries, Finality.FINAL)

        desk.real_provider.balances = without_the_pool  # type: ignore[method-assign,assignment]
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await world.devnet.release()
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        assert (await states(world))[1:] == (["final"], ["final"])

    async def test_a_request_that_was_refused_by_hand_is_decided_anew(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """Its job does not turn for ever, and its intent goes on."""
        await leave_asked(world, desk)
        await world.connection.execute("UPDATE signing_requests SET state = 'refused', refusal = 'by hand'")
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        assert (await states(world))[1] == ["final"]
        assert await requests(world) == ["refused", "signed"]
        await world.assert_database_equals_chain()

    async def test_a_job_that_waits_for_the_chain_cannot_be_cancelled(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.run(GAS)
        (job,) = await world.jobs()
        for attempt in (
            f"SELECT cancel_job('{job['job_id']}')",
            "UPDATE job_logs SET status = 'cancelled'",
            "UPDATE job_logs SET status = 'failed', awaiting_chain = false",
        ):
            with pytest.raises(psycopg.errors.DatabaseError):
                await world.connection.execute(attempt)  # type: ignore[call-overload]
        assert (await states(world))[0] == ["active"]


class TestOperators:
    async def test_a_claimed_job_whose_payment_is_out_is_parked(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """By hand, past every guard: the job runs again while its payment is in the air."""
        await desk.run(GAS)
        await self.tear_off(world)
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        assert (await world.jobs())[0]["awaiting_chain"]
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        assert (await states(world))[0] == ["completed"]

    async def test_a_job_whose_payment_became_final_meanwhile_is_done(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.run(GAS)
        await self.tear_off(world)
        await desk.settle()
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert outcome.data["outcome"] == "sent"
        assert len(await world.paid_gas()) == 1

    async def test_a_payment_that_settles_between_reading_and_parking(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Parked after its payment has settled, nobody would ever end the job."""
        await desk.run(GAS)
        await self.tear_off(world)
        park = desk.store.park

        async def settle_first(job: Job, transfer_id: int) -> None:
            await other_desk.settle()
            await park(job, transfer_id)

        desk.store.park = settle_first  # type: ignore[method-assign]
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
        await desk.run(GAS)
        assert (await states(world))[:2] == (["completed"], ["final"])

    async def test_a_failed_job_retried_after_a_revert_gets_a_new_key(
        self, world: World, desk: Desk, ready: Wallet
    ) -> None:
        await desk.run(CONSOLIDATION)
        await world.devnet.hold()
        await world.devnet.call(world.token, "addBlackList(address)", ready.address)
        await world.devnet.mine()
        await world.devnet.release()
        await desk.settle()
        (job,) = await world.jobs()
        assert (job["status"], (await states(world))[1]) == ("failed", ["reverted"])
        assert "failed on the chain" in job["error_message"]
        assert (await world.transfers())[0]["fee_paid"] > 0

        await world.devnet.call(world.token, "removeBlackList(address)", ready.address)
        await world.devnet.solidify()
        await world.connection.execute("SELECT retry_failed_jobs('consolidation', 24)")
        await desk.run(CONSOLIDATION)
        await desk.settle()
        assert [row["idempotency_key"][-2:] for row in await world.transfers()] == [":0", ":1"]
        assert [one.amount for one in await world.swept()] == [250 * USDT]
        await world.assert_database_equals_chain()

    @pytest.mark.parametrize(
        "edit",
        [
            "amount = amount + 1",
            "to_address = 'T-thief'",
            "idempotency_key = 'another'",
            "asset_on_chain_id = gen_random_uuid()",
        ],
    )
    async def test_what_a_payment_is_cannot_be_edited(
        self, world: World, desk: Desk, thirsty: Wallet, edit: str
    ) -> None:
        await desk.run(GAS)
        with pytest.raises(psycopg.errors.DatabaseError) as refused:
            await world.connection.execute(f"UPDATE transfers SET {edit}")  # type: ignore[call-overload] # noqa: S608
        assert refused.value.sqlstate == "FP004"

    @staticmethod
    async def tear_off(world: World) -> None:
        """Make a parked job claimable, as somebody could who switches the triggers off."""
        await world.connection.execute(
            "SET session_replication_role = replica; "
            "UPDATE job_logs SET status = 'pending', queued = true, awaiting_chain = false, run_at = now(); "
            "SET session_replication_role = origin"
        )


class TestEditedWallets:
    async def test_edited_between_intent_and_signing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        job = await claim(desk, GAS)

        async def edit() -> None:
            await world.connection.execute("UPDATE wallets SET address = 'invalid' WHERE id = %s", [thirsty.id])

        desk.provider.before("prepare", edit)
        await desk.run(GAS, [job])
        assert (await states(world))[2] == []
        await world.connection.execute("UPDATE job_logs SET run_at = now()")
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Failed)
        assert "wallet invalid is not derived from our mnemonic" in outcome.error
        await world.devnet.solidify()
        assert await world.paid_gas() == []
        assert await states(world) == (["failed"], [], [])

    async def test_edited_to_another_wallets_address(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        thief = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
        await world.connection.execute("UPDATE wallets SET address = %s WHERE id = %s", [thief, thirsty.id])
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Failed)
        assert f"index {thirsty.derivation_index} is {thirsty.address}" in outcome.error

    async def test_a_foreign_wallet_never_receives_gas(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await world.connection.execute("UPDATE wallets SET derivation_index = NULL WHERE id = %s", [thirsty.id])
        ((_, outcome),) = await desk.run(GAS)
        assert outcome == Failed(
            f"wallet {thirsty.address} is not derived from our mnemonic: it never receives gas and is never signed for"
        )
        await world.devnet.solidify()
        assert await world.paid_gas() == []

    async def test_a_treasury_written_into_the_database_is_not_believed(
        self, world: World, desk: Desk, ready: Wallet
    ) -> None:
        await world.connection.execute("UPDATE chains SET treasury_address = %s", [world.gas_address])
        await desk.run(CONSOLIDATION)
        await desk.settle()
        assert [one.amount for one in await world.swept()] == [250 * USDT]

    async def test_what_was_asked_for_before_the_treasury_was_pinned_elsewhere_is_not_signed(
        self, world: World, pool: Pool, confirming: Pool, desk: Desk, ready: Wallet
    ) -> None:
        await leave_asked(world, desk, job_type=CONSOLIDATION)
        pinned = await world.wallet()
        elsewhere = Desk(world, pool, confirming, treasury=pinned.address)
        ((_, outcome),) = await elsewhere.run(CONSOLIDATION)
        assert isinstance(outcome, Defer)
        assert "a signature for transfer" in outcome.reason, "that it was never signed is only what this signer says"
        await outlived(world, elsewhere)
        assert [outcome for _, outcome in await elsewhere.run(CONSOLIDATION)] == [Parked()]
        await elsewhere.settle()
        await elsewhere.close()
        assert (await states(world))[1] == ["rejected", "final"]
        assert await world.swept() == []
        assert [one.receiver for one in await world.devnet.audit() if one.sender == ready.address] == [pinned.address]
