"""The protocol against everything that can come in between its steps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from pipeline.chains.values import BalanceQuery, Finality
from pipeline.db.pool import Pool
from pipeline.payments.send.store import LeaseLost, MovedOn
from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Parked
from tests.chaos.world import Desk, World
from tests.db.paying_kit import Killed, claim, leave_signed, outlived, rescue, states
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
        await world.assert_books_equal_chain()
        assert (await states(world))[0] == ["completed"]

    async def test_lost_before_broadcasting_is_committed_the_bytes_stay_here(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        job = await claim(desk, GAS)
        begin = desk.store.begin_broadcast

        async def lose_it(*arguments: object) -> None:
            await rescue(world, job)
            await begin(*arguments)  # type: ignore[arg-type]

        desk.store.begin_broadcast = lose_it  # type: ignore[method-assign,assignment]
        await desk.run(GAS, [job])
        assert (await world.devnet.status()).pending == ()
        assert await states(world) == (["retrying"], ["signed"], ["signed"])

    async def test_an_older_lease_can_take_no_step(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """The job is active again under a newer lease and everything else is as the old worker left it."""
        await leave_signed(world, desk)
        new = await claim(other_desk, GAS)
        old = replace(new, lease=new.lease - 1)
        attempt = (await world.attempts())[0]["id"]
        (transfer,) = await world.transfers()
        steps = [
            desk.store.begin_broadcast(old, [attempt]),
            desk.store.reject(old, transfer["id"], "no"),
            desk.store.park(old, transfer["id"]),
        ]
        for step in steps:
            with pytest.raises(LeaseLost):
                await step
        assert await states(world) == (["active"], ["signed"], ["signed"])
        await desk.store.begin_broadcast(new, [attempt])

    async def test_another_jobs_bytes_are_left_where_they_are(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Refused like any step that came too late, and not by an error of the database."""
        await leave_signed(world, desk)
        other = await world.wallet(usdt=250 * USDT)
        await world.devnet.solidify()
        await world.flag(other, gas=True)
        stranger, owner = sorted(
            await other_desk.queue.enqueue_and_claim(GAS, 10), key=lambda job: job.wallet_id == thirsty.id
        )
        (attempt,) = await world.attempts()
        with pytest.raises(MovedOn):
            await desk.store.begin_broadcast(stranger, [attempt["id"]])
        await desk.store.begin_broadcast(owner, [attempt["id"]])

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
        await world.assert_books_equal_chain()


class TestResume:
    async def test_a_requested_payment_goes_on_under_its_key(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        job = await claim(desk, GAS)

        async def die() -> None:
            raise Killed

        desk.provider.before("prepare", die)
        with pytest.raises(Killed):
            await desk.run(GAS, [job])
        assert await states(world) == (["active"], ["requested"], [])
        await rescue(world, job)
        await desk.run(GAS)
        await desk.settle()
        (transfer,) = await world.transfers()
        assert transfer["idempotency_key"] == f"gas:{job.id}:{world.native_id}:0"
        assert len(await world.paid_gas()) == 1

    async def test_signed_bytes_that_never_left_are_sent_as_they_are(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await leave_signed(world, desk)
        (before,) = await world.attempts()
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await desk.settle()
        (after,) = await world.attempts()
        assert (after["txid"], after["state"]) == (before["txid"], "final")
        assert [one.txid for one in await world.paid_gas()] == [before["txid"]]

    async def test_signed_bytes_that_grew_old_are_proved_dead_before_others_are_signed(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await leave_signed(world, desk)
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
        """The new primary says 'signed' of bytes that are out. They are nearly expired, in no block yet, and the node
        that is asked has not heard of them."""
        begin = desk.store.begin_broadcast

        async def lost(*_: object) -> None:
            """Acknowledged, and gone with the old primary."""

        desk.store.begin_broadcast = lost  # type: ignore[method-assign,assignment]
        await desk.run(GAS)
        desk.store.begin_broadcast = begin  # type: ignore[method-assign]
        await world.devnet.hold()
        await world.devnet.advance(45)
        await world.devnet.mine(1, empty=True)
        await world.connection.execute("UPDATE job_logs SET status = 'retrying', leased_by = NULL, run_at = now()")
        balances = desk.real_provider.balances

        async def without_the_pool(queries: Sequence[BalanceQuery], finality: Finality = Finality.FINAL) -> object:
            return await balances(queries, Finality.FINAL)

        desk.real_provider.balances = without_the_pool  # type: ignore[method-assign,assignment]
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await world.devnet.release()
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        assert (await states(world))[1:] == (["final"], ["final"])

    async def test_a_job_cancelled_with_signed_bytes_never_sends_them(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await leave_signed(world, desk)
        (job,) = await world.jobs()
        await world.connection.execute("SELECT cancel_job(%s)", [job["job_id"]])
        assert await states(world) == (["cancelled"], ["rejected"], ["rejected"])
        await world.flag(thirsty)
        await desk.run(GAS)
        await world.devnet.solidify()
        assert await world.paid_gas() == []

    @pytest.mark.parametrize("by_hand", ["of the bytes alone", "of a payment without bytes"])
    async def test_a_payment_called_signed_without_bytes_to_send_is_decided_anew(
        self, world: World, desk: Desk, thirsty: Wallet, by_hand: str
    ) -> None:
        """An operator gave up the bytes and not the payment, or called it signed: its job does not turn for ever."""
        if by_hand == "of the bytes alone":
            await leave_signed(world, desk)
            await world.connection.execute("UPDATE chain_transactions SET state = 'rejected'")
        else:
            job = await claim(desk, GAS)
            request = desk.store.request

            async def die(*arguments: object) -> None:
                await request(*arguments)  # type: ignore[arg-type]
                raise Killed

            desk.store.request = die  # type: ignore[method-assign,assignment]
            with pytest.raises(Killed):
                await desk.run(GAS, [job])
            desk.store.request = request  # type: ignore[method-assign]
            await rescue(world, job)
            await world.connection.execute("UPDATE transfers SET state = 'signed'")
        outcomes = [outcome for _, outcome in await desk.run(GAS)]
        if outcomes != [Parked()]:
            await outlived(world, desk)
            outcomes = [outcome for _, outcome in await desk.run(GAS)]
        assert outcomes == [Parked()]
        await desk.settle()
        assert len(await world.paid_gas()) == 1
        assert (await states(world))[1] == ["rejected", "final"]
        await world.assert_books_equal_chain()

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
        await world.assert_books_equal_chain()

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
            "UPDATE job_logs SET status = 'pending', awaiting_chain = false, run_at = now(); "
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
        assert await states(world) == (["failed"], ["rejected"], [])

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

    async def test_bytes_signed_before_the_treasury_was_pinned_elsewhere_are_not_sent(
        self, world: World, pool: Pool, confirming: Pool, desk: Desk, ready: Wallet
    ) -> None:
        job = await claim(desk, CONSOLIDATION)

        async def die(*_: object) -> None:
            raise Killed

        desk.store.begin_broadcast = die  # type: ignore[method-assign,assignment]
        with pytest.raises(Killed):
            await desk.run(CONSOLIDATION, [job])
        await rescue(world, job)
        pinned = await world.wallet()
        elsewhere = Desk(world, pool, confirming, treasury=pinned.address)
        ((_, outcome),) = await elsewhere.run(CONSOLIDATION)
        assert isinstance(outcome, Defer)
        assert "were given up and may still land" in outcome.reason, "that they never left is only what the books say"
        await outlived(world, elsewhere)
        assert [outcome for _, outcome in await elsewhere.run(CONSOLIDATION)] == [Parked()]
        await elsewhere.settle()
        await elsewhere.close()
        assert (await states(world))[1] == ["rejected", "final"]
        assert await world.swept() == []
        assert [one.receiver for one in await world.devnet.audit() if one.sender == ready.address] == [pinned.address]
