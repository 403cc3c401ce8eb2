"""The protocol against everything that can come in between its steps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest

from pipeline.chains.provider import BalanceQuery, Fate, Finality, Verdict
from pipeline.db.pool import Pool, pool_of
from pipeline.db.statements import statement
from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Parked
from pipeline.transfers.booking import Finding
from pipeline.transfers.intents import Kind, LiveAttempt, signed_from_row
from pipeline.transfers.settlements import CursorMoved
from pipeline.transfers.store import LeaseLost
from tests.chaos.world import Desk, World
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


class Killed(BaseException):
    """Ends a handler where it stands, past every ``except Exception``."""


@pytest.fixture
async def thirsty(world: World) -> Wallet:
    """A wallet with tokens and no coin, flagged for gas."""
    wallet = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(wallet, gas=True, consolidation=True)
    return wallet


@pytest.fixture
async def ready(world: World) -> Wallet:
    """A wallet with tokens and coins, flagged for consolidation."""
    wallet = await world.wallet(usdt=250 * USDT, trx=30 * TRX)
    await world.devnet.solidify()
    await world.flag(wallet, consolidation=True)
    return wallet


async def claim(desk: Desk, job_type: JobType) -> Job:
    (job,) = await desk.queue.enqueue_and_claim(job_type, 10)
    return job


async def rescue(world: World, job: Job) -> None:
    """What the sweep does to an attempt whose worker is gone."""
    await world.connection.execute(
        "UPDATE job_logs SET status = 'retrying', leased_by = NULL, run_at = now() WHERE id = %s",
        [job.id],
    )


async def outlived(world: World, desk: Desk) -> None:
    """What was signed until now has expired, by the final blocks that were read; what waits is due."""
    await world.devnet.advance(61)
    await world.devnet.mine(4)
    await desk.settlement.round()
    await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")


async def states(world: World) -> tuple[list[str], list[str], list[str]]:
    """Of jobs, transfers and attempts."""
    return (
        [row["status"] for row in await world.jobs()],
        [row["state"] for row in await world.transfers()],
        [row["state"] for row in await world.attempts()],
    )


class TestLease:
    @pytest.mark.parametrize("step", ["estimate", "build"])
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
        await TestResume.leave_signed(world, desk)
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

        desk.provider.before("build", die)
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
        await self.leave_signed(world, desk)
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
        await self.leave_signed(world, desk)
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
        await self.leave_signed(world, desk)
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
            await self.leave_signed(world, desk)
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

    @staticmethod
    async def leave_signed(world: World, desk: Desk) -> None:
        """A worker dies between the commits of signed and broadcasting, and its job is rescued."""
        job = await claim(desk, GAS)
        begin = desk.store.begin_broadcast

        async def die(*_: object) -> None:
            raise Killed

        desk.store.begin_broadcast = die  # type: ignore[method-assign,assignment]
        with pytest.raises(Killed):
            await desk.run(GAS, [job])
        desk.store.begin_broadcast = begin  # type: ignore[method-assign]
        await rescue(world, job)


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
        ["amount = amount + 1", "to_address = 'T-thief'", "idempotency_key = 'another'", "asset_on_chain_id = 2"],
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

        desk.provider.before("build", edit)
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


class TestConfirmations:
    async def test_seen_in_a_block_before_the_sender_noted_the_reply(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """The transaction is final and settled before the sender's next step; that step must change nothing."""

        async def settle_first(reply: object) -> object:
            await other_desk.settle()
            return reply

        desk.provider.after("broadcast", settle_first)
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        (attempt,) = await world.attempts()
        assert (attempt["state"], attempt["last_result"]) == ("final", None)
        assert (await states(world))[0] == ["completed"]

    async def test_two_confirmation_workers_settle_once(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.run(GAS)
        await world.devnet.solidify()
        await asyncio.gather(desk.settlement.round(), other_desk.settlement.round())
        await asyncio.gather(desk.settlement.round(), other_desk.settlement.round())
        assert await states(world) == (["completed"], ["final"], ["final"])

    async def test_a_reader_that_was_overtaken_books_nothing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        start = await desk.books.cursor(world.chain_id)
        await desk.run(GAS)
        await desk.settle()
        head = (await desk.books.cursor(world.chain_id)) or start
        assert head is not None
        with pytest.raises(CursorMoved):
            await desk.books.settle_block(world.chain_id, start, head, [])
        with pytest.raises(CursorMoved):
            await desk.books.advance(world.chain_id, start, head)
        assert await desk.books.cursor(world.chain_id) == head

    async def test_an_overtaken_worker_goes_on(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Its leadership was lost while it waited for a node, with nothing out and with a payment out."""
        await world.devnet.mine(3)
        await desk.settlement.round()
        cursor = desk.books.cursor

        async def overtaken(chain_id: int) -> object:
            found = await cursor(chain_id)
            await world.devnet.mine(1)
            await other_desk.settlement.round()
            return found

        desk.books.cursor = overtaken  # type: ignore[method-assign,assignment]
        await world.devnet.mine(3)
        assert await desk.settlement.round() == 0
        await desk.run(GAS)
        await world.devnet.mine(3)
        await desk.settlement.round()
        desk.books.cursor = cursor  # type: ignore[method-assign]
        await desk.settle()
        assert (await states(world))[1] == ["final"]

    async def test_included_is_shown_before_it_is_final(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        await desk.settlement.round()
        assert await states(world) == (["active"], ["included"], ["included"])

    async def test_a_fork_gives_it_back_and_the_identical_bytes_are_sent_again(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        await desk.settlement.round()
        (before,) = await world.attempts()

        await world.devnet.fork(1, drop=True)
        await world.devnet.forget_txids()
        await world.devnet.mine()
        await desk.settlement.round()
        (between,) = await world.attempts()
        assert between["broadcast_count"] == 2
        assert (await states(world))[1] == ["broadcasting"]

        await desk.settle()
        (after,) = await world.attempts()
        assert (after["txid"], bytes(after["signed_bytes"])) == (before["txid"], bytes(before["signed_bytes"]))
        assert after["block_id"] != before["block_id"]
        assert (await states(world))[1] == ["final"]
        assert len(await world.paid_gas()) == 1

    async def test_a_fork_while_the_worker_was_away(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        await desk.settlement.round()
        await world.devnet.fork(1, drop=True)
        await world.devnet.forget_txids()
        await world.devnet.solidify()
        restarted = desk.new_settlement()
        await restarted.round()
        await world.devnet.solidify()
        await restarted.round()
        assert (await states(world))[1] == ["final"]
        assert len(await world.paid_gas()) == 1

    async def test_proved_dead_it_is_signed_anew_once(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await self.let_it_die(world, desk)
        assert await states(world) == (["retrying"], ["expired"], ["expired"])
        (job,) = await world.jobs()
        assert "can never land" in job["error_message"]
        assert job["retry_count"] == 0
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[1:] == (["final"], ["expired", "final"])
        assert len(await world.paid_gas()) == 1
        await world.assert_books_equal_chain()

    async def test_after_a_death_the_chain_is_asked_again_before_anything_is_signed(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """Meanwhile somebody else has filled the wallet: nothing is paid."""
        await self.let_it_die(world, desk)
        await world.devnet.faucet(thirsty.address, 20 * TRX)
        await world.devnet.solidify()
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert (await states(world))[:2] == (["completed"], ["rejected"])
        assert await world.paid_gas() == []

    async def test_after_a_death_another_amount_is_another_payment(
        self, world: World, desk: Desk, ready: Wallet
    ) -> None:
        await self.let_it_die(world, desk, CONSOLIDATION)
        await world.devnet.send_token(world.token, ready.address, 50 * USDT)
        await world.devnet.solidify()
        await desk.run(CONSOLIDATION)
        await desk.settle()
        assert [(row["state"], int(row["amount"])) for row in await world.transfers()] == [
            ("rejected", 250 * USDT),
            ("final", 300 * USDT),
        ]
        assert [one.amount for one in await world.swept()] == [300 * USDT]

    async def test_a_verdict_that_comes_too_late_is_void(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """DEAD is answered, but under the lock the attempt is included: it is not expired."""
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        (attempt,) = await desk.books.live(world.chain_id)
        await desk.settlement.round()
        assert not await desk.books.expire(world.chain_id, [attempt], "a wrong proof")
        assert (await states(world))[1] == ["included"]

    async def test_an_open_verdict_changes_nothing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.run(GAS)
        await world.devnet.drop_pending()
        await world.devnet.advance(61)
        await world.devnet.mine(3)

        async def open_verdict(_: object) -> Verdict:
            return Verdict(Fate.OPEN, None, "the node lacks history")

        desk.provider.after("verdict", open_verdict)
        await desk.settlement.round()
        assert await states(world) == (["active"], ["broadcasting"], ["broadcasting"])

    async def test_after_a_long_absence_stragglers_are_looked_up(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine(300)
        reads = 0
        block = desk.real_provider.block

        async def counted(number: int, finality: object) -> object:
            nonlocal reads
            reads += 1
            return await block(number, finality)  # type: ignore[arg-type]

        desk.real_provider.block = counted  # type: ignore[method-assign,assignment]
        await desk.new_settlement().round()
        assert await states(world) == (["completed"], ["final"], ["final"])
        assert reads < 20
        cursor = await desk.books.cursor(world.chain_id)
        assert cursor is not None
        assert cursor.number >= 300

    async def test_hours_without_a_payment_are_not_read(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await world.devnet.mine(500, step_seconds=3)
        await desk.run(GAS)
        await world.devnet.solidify()
        reads: list[int] = []
        block = desk.real_provider.block

        async def counted(number: int, finality: object) -> object:
            reads.append(number)
            return await block(number, finality)  # type: ignore[arg-type]

        desk.real_provider.block = counted  # type: ignore[method-assign,assignment]
        await desk.new_settlement().round()
        assert (await states(world))[1] == ["final"]
        assert min(reads) > 490

    async def test_success_without_the_effect_is_not_final(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """A token that says yes and moves nothing."""
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        (attempt,) = await desk.books.live(world.chain_id)
        finding = await self.found(desk, attempt)
        hollow = Finding(attempt, replace(finding.result, effects=()))
        await desk.books.settle_straggler(hollow)
        (transfer,) = await world.transfers()
        assert transfer["state"] == "reverted"
        assert transfer["error_message"].startswith("effect absent")
        (job,) = await world.jobs()
        assert job["status"] == "failed"
        assert await world.row("SELECT needs_gas FROM wallets WHERE id = %s", thirsty.id) == {"needs_gas": True}

    async def test_settling_twice_changes_nothing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        (attempt,) = await desk.books.live(world.chain_id)
        finding = await self.found(desk, attempt)
        assert len(await desk.books.settle_straggler(finding)) == 1
        before = await world.rows("SELECT * FROM job_logs, transfers, chain_transactions")
        assert await desk.books.settle_straggler(finding) == []
        assert await world.rows("SELECT * FROM job_logs, transfers, chain_transactions") == before

    @staticmethod
    async def found(desk: Desk, attempt: LiveAttempt) -> Finding:
        result = await desk.real_provider.find(attempt.signed.txid, Finality.HEAD)
        assert result is not None
        return Finding(attempt, result)

    @staticmethod
    async def let_it_die(world: World, desk: Desk, job_type: JobType = GAS) -> None:
        """Broadcast, swallowed by the network, and expired for good."""
        await desk.run(job_type)
        await world.devnet.drop_pending()
        await world.devnet.advance(61)
        await world.devnet.mine()
        await desk.settlement.round()
        assert (await states(world))[2] == ["broadcasting"]
        await world.devnet.advance(60)
        await world.devnet.mine(4)
        await desk.settlement.round()


class TestDatabaseGone:
    async def test_between_send_and_the_note_of_the_reply(
        self, world: World, desk: Desk, database: str, thirsty: Wallet
    ) -> None:
        """The commit of 'broadcasting' is there, the bytes are out, every connection is cut."""

        async def cut(reply: object) -> object:
            await world.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return reply

        job = await claim(desk, GAS)
        desk.provider.after("broadcast", cut)
        outcomes = [pair async for pair in desk.handler(GAS).handle([job])]
        assert [outcome for _, outcome in outcomes] == [Parked()]
        async with (
            pool_of(database, "again", role="pipeline_executor") as fresh,
            pool_of(database, "again", role="pipeline_confirmations") as confirming,
        ):
            again = Desk(world, fresh, confirming)
            await again.settle()
            await again.close()
        assert await states(world) == (["completed"], ["final"], ["final"])
        assert len(await world.paid_gas()) == 1

    async def test_at_the_commit_of_broadcasting(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """Whether it was committed is unknown to the worker: it does not send. If it was, the bytes are sent by
        the confirmation worker."""
        begin = desk.store.begin_broadcast

        async def commit_and_lose_the_answer(*arguments: object) -> None:
            await begin(*arguments)  # type: ignore[arg-type]
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        desk.store.begin_broadcast = commit_and_lose_the_answer  # type: ignore[method-assign,assignment]
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert (await world.devnet.status()).pending == ()
        assert (await world.jobs())[0]["awaiting_chain"]
        await world.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 minute'")
        await desk.settlement.round()
        await desk.settle()
        assert await states(world) == (["completed"], ["final"], ["final"])
        assert len(await world.paid_gas()) == 1


class TestGivenUpBytes:
    async def test_bytes_that_a_failover_called_unsent_land(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """The commit of 'broadcasting' was lost and the job cancelled; they land before the next payment is made."""
        await TestResume.leave_signed(world, desk)
        (attempt,) = await world.attempts()
        (job,) = await world.jobs()
        await world.connection.execute("SELECT cancel_job(%s)", [job["job_id"]])
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert [one.receiver for one in await world.paid_gas()] == []
        await desk.real_provider.broadcast(signed_from_row(attempt))
        await world.devnet.solidify()
        await outlived(world, desk)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done), "it holds enough"
        assert [one.receiver for one in await world.paid_gas()] == [thirsty.address]


class TestHousekeeping:
    async def test_payments_of_finished_jobs_are_given_up(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await TestResume.leave_signed(world, desk)
        await world.connection.execute(
            "SET session_replication_role = replica; "
            "UPDATE job_logs SET status = 'failed', completed_at = now(); "
            "SET session_replication_role = origin"
        )
        await desk.settlement.tidy()
        assert (await states(world))[1:] == (["rejected"], ["rejected"])

    async def test_a_leftover_of_a_finished_job_does_not_block_the_next(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await TestResume.leave_signed(world, desk)
        await world.connection.execute(
            "SET session_replication_role = replica; "
            "UPDATE job_logs SET status = 'failed', completed_at = now() - interval '2 hours'; "
            "SET session_replication_role = origin"
        )
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        await outlived(world, desk)
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[1] == ["rejected", "final"]
        assert len(await world.paid_gas()) == 1

    async def test_jobs_that_wait_for_nothing_go_back(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await claim(desk, GAS)
        await world.connection.execute("UPDATE job_logs SET awaiting_chain = true")
        await desk.settlement.tidy()
        assert (await states(world))[0] == ["retrying"]

    async def test_a_job_that_does_wait_is_left_alone(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.run(GAS)
        before = await states(world)
        await desk.settlement.tidy()
        assert await states(world) == before


def test_kinds_are_those_of_the_table() -> None:
    assert {kind.value for kind in Kind} < {"gas", "consolidation", "withdrawal", "gap"}


async def test_the_commit_of_broadcasting_is_flushed_even_where_commits_are_not(
    world: World, desk: Desk, thirsty: Wallet
) -> None:
    """With synchronous_commit off an acknowledged commit may be lost in a crash, and the payment made again."""
    await TestResume.leave_signed(world, desk)
    await claim(desk, GAS)
    (attempt,) = await world.attempts()
    (transfer,) = await world.transfers()
    await world.connection.execute("SET synchronous_commit = off")
    async with world.connection.transaction(force_rollback=True):
        await world.connection.execute(
            statement("transfers/begin_broadcast"),
            {"attempt_ids": [attempt["id"]], "job_uuid": transfer["job_id"], "data": "{}"},
        )
        assert await world.row("SHOW synchronous_commit") == {"synchronous_commit": "on"}
    assert await world.row("SHOW synchronous_commit") == {"synchronous_commit": "off"}
