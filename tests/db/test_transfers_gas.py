"""Top-ups: policies, the gas wallet's purse, cooldown and budgets."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pipeline.chains.errors import ChainUnavailable, SimulationFailed
from pipeline.chains.fees import Parameters, TronFee
from pipeline.config import RuntimeConfig
from pipeline.devnet.faults import FaultKind
from pipeline.payments.terms import Terms
from pipeline.queue.jobs import Defer, Done, JobType, Outcome, Parked, Retry
from tests.chaos.drain import drain
from tests.chaos.world import Desk, World
from tests.seed import TRX, USDT, Wallet

GAS = JobType.GAS_TOPUP


async def flagged(world: World, count: int = 1, *, usdt: int = 0, trx: int = 0) -> list[Wallet]:
    """Wallets that ask for gas."""
    wallets = [await world.wallet(usdt=usdt, trx=trx) for _ in range(count)]
    await world.devnet.solidify()
    for wallet in wallets:
        await world.flag(wallet, gas=True)
    return wallets


class TestThreshold:
    async def test_a_new_wallet_gets_five_trx(self, world: World, desk: Desk) -> None:
        (wallet,) = await flagged(world)
        await desk.run(GAS)
        await desk.settle()
        assert [(one.receiver, one.amount) for one in await world.paid_gas()] == [(wallet.address, 5 * TRX)]

    async def test_what_the_gas_wallet_held_is_shown(self, world: World, desk: Desk) -> None:
        """Only its node knows that: for the alert on a gas wallet that is low."""
        await flagged(world)
        handler = desk.handler(GAS)
        assert handler.stats() == {"gas_wallets": {}}
        async for _ in handler.handle(await desk.queue.enqueue_and_claim(GAS, 100)):
            pass
        seen = handler.stats()["gas_wallets"]["tron"]
        assert seen["address"] == world.gas_address
        assert int(seen["raw"]) > 5 * TRX

    async def test_enough_gas_clears_the_flag_and_says_so(self, world: World, desk: Desk) -> None:
        (wallet,) = await flagged(world, trx=3 * TRX)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert outcome.data == {"outcome": "skipped", "reason": "holds 3 TRX, not below 1 TRX"}
        assert await world.row("SELECT needs_gas FROM wallets WHERE id = %s", wallet.id) == {"needs_gas": False}

    async def test_coins_that_are_not_final_yet_are_waited_for(self, world: World, desk: Desk) -> None:
        (wallet,) = await flagged(world)
        await world.devnet.faucet(wallet.address, 20 * TRX)
        await world.devnet.mine()
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert outcome.reason == "20 TRX in the newest block, not final yet"
        assert await world.transfers() == []

    async def test_a_dear_transfer_gets_what_it_costs(self, world: World, desk: Desk) -> None:
        """At mainnet's prices five coins do not move USDT."""
        await world.devnet.set_params(energy_factor=34_000)
        (wallet,) = await flagged(world, usdt=250 * USDT)
        await desk.run(GAS)
        await desk.settle()
        (amount,) = [one.amount for one in await world.paid_gas()]
        assert amount > 5 * TRX
        await world.flag(wallet, consolidation=True)
        assert [outcome for _, outcome in await desk.run(JobType.CONSOLIDATION)] == [Parked()]
        await desk.settle()
        assert [one.amount for one in await world.swept()] == [250 * USDT]

    async def test_a_transfer_that_would_fail_does_not_stop_the_rule(self, world: World, desk: Desk) -> None:
        (wallet,) = await flagged(world, usdt=250 * USDT)
        await world.devnet.call(world.token, "addBlackList(address)", wallet.address)
        await world.devnet.solidify()
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]


class TestOnDemand:
    @pytest.fixture(autouse=True)
    async def policy(self, world: World) -> None:
        await world.connection.execute("UPDATE chains SET gas_policy = 'on_demand'")

    async def test_nothing_for_a_wallet_without_tokens(self, world: World, desk: Desk) -> None:
        await flagged(world)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert await world.transfers() == []

    async def test_just_enough_for_the_transfer(self, world: World, desk: Desk) -> None:
        (wallet,) = await flagged(world, usdt=250 * USDT)
        await desk.run(GAS)
        await desk.settle()
        (amount,) = [one.amount for one in await world.paid_gas()]
        assert TRX <= amount < 5 * TRX * 3
        await world.flag(wallet, consolidation=True)
        assert [outcome for _, outcome in await desk.run(JobType.CONSOLIDATION)] == [Parked()]
        await desk.settle()
        assert [one.amount for one in await world.swept()] == [250 * USDT]


class TestPurse:
    async def test_an_empty_gas_wallet_makes_jobs_wait_and_say_so(self, world: World, desk: Desk) -> None:
        await drain(world, 2 * TRX)
        await flagged(world)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert outcome.reason.startswith(f"gas wallet {world.gas_address} has ")
        assert outcome.reason.endswith(": send TRX to it")
        (job,) = await world.jobs()
        assert (job["status"], job["retry_count"], job["error_message"]) == ("pending", 0, outcome.reason)

        await world.devnet.faucet(world.gas_address, 100 * TRX)
        await world.devnet.solidify()
        await world.connection.execute("UPDATE job_logs SET run_at = now()")
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]

    async def test_a_batch_does_not_promise_more_than_there_is(self, world: World, desk: Desk) -> None:
        await drain(world, 20 * TRX)
        await flagged(world, 5)
        outcomes = [outcome for _, outcome in await desk.run(GAS)]
        paid = sum(isinstance(outcome, Parked) for outcome in outcomes)
        assert 1 <= paid <= 3
        assert len(outcomes) - paid == sum(isinstance(outcome, Defer) for outcome in outcomes)

    async def test_what_is_in_flight_counts_as_spent(self, world: World, desk: Desk) -> None:
        """Even while the node shows nothing of it: what was sent may still arrive."""
        await drain(world, 14 * TRX)
        await flagged(world, 3)
        await world.devnet.add_fault(FaultKind.SWALLOWED, "wallet/broadcasthex")
        outcomes = []
        for _ in range(3):
            jobs = await desk.queue.enqueue_and_claim(GAS, 1)
            outcomes += [outcome for _, outcome in await desk.run(GAS, jobs)]
        assert outcomes[:2] == [Parked(), Parked()]
        assert isinstance(outcomes[2], Defer)
        assert len(await world.transfers()) == 2

    async def test_two_processes_do_not_promise_the_same_coins(
        self, world: World, desk: Desk, other_desk: Desk
    ) -> None:
        """Both have read the balance before either has asked for anything: one says so, and signs nothing."""
        await drain(world, 9 * TRX)
        await flagged(world, 2)
        jobs = await desk.queue.enqueue_and_claim(GAS, 2)
        theirs: list[Outcome] = []

        async def the_other_process(estimate: TronFee) -> TronFee:
            theirs.extend(outcome for _, outcome in await other_desk.run(GAS, jobs[1:]))
            return estimate

        desk.provider.after("estimate", the_other_process)
        ((_, mine),) = await desk.run(GAS, jobs[:1])
        assert theirs == [Parked()]
        assert isinstance(mine, Defer)
        assert "to give, this top-up needs" in mine.reason
        assert [row["state"] for row in await world.transfers()] == ["broadcasting"]


class TestLimits:
    async def test_the_cooldown_defers_to_its_end(self, world: World, desk: Desk) -> None:
        await world.connection.execute("UPDATE chains SET gas_cooldown = %s", [timedelta(minutes=4)])
        (wallet,) = await flagged(world, usdt=250 * USDT)
        await desk.run(GAS)
        await desk.settle()
        await world.connection.execute(
            "UPDATE chains SET gas_flag_below = 6000000, gas_execute_below = 6000000, gas_amount = 6000000"
        )
        await world.flag(wallet, gas=True)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert 230 < outcome.seconds <= 240
        assert "gas_cooldown" in outcome.reason
        assert len(await world.paid_gas()) == 1

    @pytest.mark.parametrize("limit", ["gas_max_per_day", "gas_max_total"])
    async def test_a_budget_defers_and_names_itself(self, world: World, desk: Desk, limit: str) -> None:
        await world.connection.execute(
            "UPDATE chains SET gas_max_per_topup = 5000000, gas_max_per_wallet_day = 7000000"
        )
        await world.connection.execute(f"UPDATE chains SET {limit} = 7000000")  # type: ignore[call-overload] # noqa: S608
        await flagged(world, 2)
        outcomes = [outcome for _, outcome in await desk.run(GAS)]
        assert sum(isinstance(outcome, Parked) for outcome in outcomes) == 1
        (deferred,) = [outcome for outcome in outcomes if isinstance(outcome, Defer)]
        assert limit in deferred.reason
        await desk.settle()
        assert len(await world.paid_gas()) == 1


class TestFeeMax:
    """A node that asks for absurd fees burns no more than our own configuration allows."""

    @pytest.fixture(autouse=True)
    async def fee_max(self, world: World) -> None:
        await RuntimeConfig.set(world.connection, "tron.fee_max", "5 TRX")

    async def test_no_token_is_moved_at_any_price(self, world: World, desk: Desk) -> None:
        wallet = await world.wallet(usdt=250 * USDT, trx=1000 * TRX)
        await world.devnet.solidify()
        await world.flag(wallet, consolidation=True)
        await world.devnet.set_params(energy_factor=34_000)
        ((_, outcome),) = await desk.run(JobType.CONSOLIDATION)
        assert isinstance(outcome, Defer)
        assert "tron.fee_max is 5 TRX" in outcome.reason
        assert await world.transfers() == []
        (job,) = await world.jobs()
        assert (job["status"], job["retry_count"]) == ("pending", 0)
        await world.connection.execute("UPDATE chains SET fee_max = %s", [1000 * TRX])
        await world.connection.execute("UPDATE job_logs SET run_at = now()")
        assert [outcome for _, outcome in await desk.run(JobType.CONSOLIDATION)] == [Parked()]

    async def test_no_gas_is_sent_for_it(self, world: World, desk: Desk) -> None:
        await flagged(world, usdt=250 * USDT)
        await world.devnet.set_params(energy_factor=34_000)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert "tron.fee_max is 5 TRX" in outcome.reason

    async def test_a_price_that_rises_after_the_estimate(
        self, world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is signed is looked at once more, by the process and by the database."""
        await flagged(world)
        prepare = desk.real_provider.prepare

        async def dear(*arguments: Any) -> Parameters:
            return replace(await prepare(*arguments), activation=21 * TRX)

        monkeypatch.setattr(desk.real_provider, "prepare", dear)
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert "tron.fee_max" in outcome.reason
        monkeypatch.setattr(Terms, "check_fee", lambda *_: None)
        await world.connection.execute("UPDATE job_logs SET run_at = now()")
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert "more than chains.fee_max" in outcome.reason
        assert await world.attempts() == []


class TestTrouble:
    async def test_a_node_that_is_away_uses_up_no_attempt(self, world: World, desk: Desk) -> None:
        await flagged(world, 2)

        async def away() -> None:
            raise ChainUnavailable("connection refused")

        desk.provider.before("balances", away)
        outcomes = [outcome for _, outcome in await desk.run(GAS)]
        assert all(isinstance(outcome, Defer) for outcome in outcomes)
        assert {(row["status"], row["retry_count"]) for row in await world.jobs()} == {("pending", 0)}

    async def test_one_wallets_trouble_is_not_the_batchs(self, world: World, desk: Desk) -> None:
        await flagged(world, 3)

        async def fails() -> None:
            raise SimulationFailed("account frozen")

        desk.provider.before("estimate", fails)
        outcomes = [outcome for _, outcome in await desk.run(GAS)]
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Parked", "Parked", "Retry"]
        assert next(one for one in outcomes if isinstance(one, Retry)).error == "SimulationFailed: account frozen"

    async def test_many_at_once(self, world: World, desk: Desk) -> None:
        wallets = await flagged(world, 40)
        await desk.run(GAS)
        await desk.settle()
        assert sorted(one.receiver for one in await world.paid_gas()) == sorted(wallet.address for wallet in wallets)
        await world.assert_database_equals_chain()


class TestConsolidation:
    async def ready(self, world: World, *, usdt: int = 250 * USDT, trx: int = 30 * TRX) -> Wallet:
        wallet = await world.wallet(usdt=usdt, trx=trx)
        await world.devnet.solidify()
        await world.flag(wallet, consolidation=True)
        return wallet

    async def test_short_of_gas_raises_needs_gas(self, world: World, desk: Desk) -> None:
        wallet = await self.ready(world, trx=TRX // 2)
        ((_, outcome),) = await desk.run(JobType.CONSOLIDATION)
        assert isinstance(outcome, Done)
        assert outcome.data["outcome"] == "needs_gas"
        flags = await world.row("SELECT needs_gas, needs_consolidation FROM wallets WHERE id = %s", wallet.id)
        assert flags == {"needs_gas": True, "needs_consolidation": True}

    async def test_short_of_the_estimated_fee_raises_needs_gas_too(self, world: World, desk: Desk) -> None:
        await world.devnet.set_params(energy_factor=34_000)
        wallet = await self.ready(world, trx=2 * TRX)
        ((_, outcome),) = await desk.run(JobType.CONSOLIDATION)
        assert isinstance(outcome, Done)
        assert outcome.data["outcome"] == "needs_gas"
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await desk.settle()
        assert [outcome for _, outcome in await desk.run(JobType.CONSOLIDATION)] == [Parked()]
        await desk.settle()
        assert [(one.sender, one.amount) for one in await world.swept()] == [(wallet.address, 250 * USDT)]

    async def test_processes_that_disagree_about_the_price_do_not_send_a_wallet_back_and_forth(
        self, world: World, desk: Desk
    ) -> None:
        """Each keeps prices for a while: to the one that gives gas the wallet has enough, as soon as it is asked."""
        wallet = await self.ready(world, trx=TRX // 2)
        handler = desk.handler(JobType.CONSOLIDATION)

        async def decide() -> Outcome:
            jobs = await desk.queue.enqueue_and_claim(JobType.CONSOLIDATION, 1)
            ((job, outcome),) = [one async for one in handler.handle(jobs)]
            await desk.queue.finish([(job, outcome)])
            return outcome

        assert isinstance(await decide(), Done)
        await world.flag(wallet, consolidation=True)
        assert isinstance(await decide(), Defer)
        flags = await world.row("SELECT needs_gas, needs_consolidation FROM wallets WHERE id = %s", wallet.id)
        assert flags == {"needs_gas": False, "needs_consolidation": True}

    async def test_gas_that_is_under_way_is_waited_for(self, world: World, desk: Desk) -> None:
        """A flag that rises between the claim and the run: nothing moves, the wallet stays flagged."""
        wallet = await self.ready(world)
        (job,) = await desk.queue.enqueue_and_claim(JobType.CONSOLIDATION, 1)
        await world.flag(wallet, gas=True, consolidation=True)
        ((_, outcome),) = await desk.run(JobType.CONSOLIDATION, [job])
        assert outcome == Done({"outcome": "needs_gas", "reason": "the wallet is waiting for gas"})
        assert await world.transfers() == []

    async def test_too_little_is_left_alone(self, world: World, desk: Desk) -> None:
        await self.ready(world, usdt=99 * USDT)
        ((_, outcome),) = await desk.run(JobType.CONSOLIDATION)
        assert isinstance(outcome, Done)
        assert outcome.data["outcome"] == "skipped"

    async def test_a_wallet_that_cannot_move_its_tokens_becomes_a_dead_letter(self, world: World, desk: Desk) -> None:
        wallet = await self.ready(world)
        await world.devnet.call(world.token, "addBlackList(address)", wallet.address)
        await world.devnet.solidify()
        for _ in range(3):
            ((_, outcome),) = await desk.run(JobType.CONSOLIDATION)
            assert isinstance(outcome, Retry)
            await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'retrying'")
        (job,) = await world.jobs()
        assert job["status"] == "failed"
        assert await world.transfers() == []
