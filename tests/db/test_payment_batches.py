"""Payments in batches: one transaction for all, and a refusal that is one wallet's alone."""

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from psycopg import OperationalError, sql

from pipeline.devnet.faults import FaultKind
from pipeline.payments.crashpoints import CrashPoint, arm
from pipeline.payments.send import first_commit, second_commit
from pipeline.payments.send.asks import JobAsks
from pipeline.payments.send.refusals import StateChanged, UnfinishedNonce
from pipeline.payments.send.second_commit import SecondCommit
from pipeline.queue.jobs import Defer, Job, JobType, Outcome, Parked, Retry
from pipeline.signing.errors import SigningRefused
from pipeline.signing.request import Answer, Never, RefusedLater, RefusedNever, SigningRequest
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.paying_kit import Killed
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION
SEVERAL = 9


async def thirsty_wallets(world: World, count: int = SEVERAL) -> list[Wallet]:
    """Flagged, and the coins of the gas wallet are final."""
    wallets = [await world.wallet() for _ in range(count)]
    await (world.network.finalize() if isinstance(world, EvmWorld) else world.devnet.solidify())
    for wallet in wallets:
        await world.flag(wallet, gas=True)
    return wallets


async def run(desk: Desk, job_type: JobType = GAS) -> dict[str, Outcome]:
    """Outcomes by wallet."""
    return {job.wallet_address: outcome for job, outcome in await desk.run(job_type)}


def count_commits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each step of a commit is made from now on."""
    made: dict[str, int] = {}
    for module in (first_commit, second_commit):
        fetch = module.fetch

        async def counted(conn: Any, name: str, fetch: Any = fetch, **parameters: Any) -> Any:
            made[name] = made.get(name, 0) + 1
            return await fetch(conn, name, **parameters)

        monkeypatch.setattr(module, "fetch", counted)
    return made


class TestTogether:
    async def test_gas_for_several_is_two_commits(
        self, world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wallets = await thirsty_wallets(world)
        made = count_commits(monkeypatch)
        outcomes = await run(desk)
        assert outcomes == {wallet.address: Parked() for wallet in wallets}
        assert made["payments/send/request"] == made["payments/send/keep"] == 1
        await desk.settle()
        assert sorted(one.receiver for one in await world.paid_gas()) == sorted(outcomes)
        await world.assert_database_equals_chain()

    async def test_nonces_of_one_sender_follow_each_other(
        self, evm: EvmWorld, evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wallets = await thirsty_wallets(evm)
        made = count_commits(monkeypatch)
        assert await run(evm_desk) == {wallet.address: Parked() for wallet in wallets}
        assert made["payments/send/reserve_nonces"] == made["payments/send/keep"] == 1
        sent = await evm.rows("SELECT nonce FROM chain_transactions ORDER BY id")
        assert [row["nonce"] for row in sent] == list(range(SEVERAL))
        await evm_desk.settle()
        await evm.assert_database_equals_chain()

    async def test_wallets_pay_together_and_each_for_itself(
        self, world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wallets = [await world.wallet(usdt=(250 + place) * USDT, trx=50 * TRX) for place in range(SEVERAL)]
        await world.devnet.solidify()
        for wallet in wallets:
            await world.flag(wallet, consolidation=True)
        made = count_commits(monkeypatch)
        await run(desk, CONSOLIDATION)
        assert made["payments/send/request"] == made["payments/send/keep"] == 1
        await desk.settle()
        assert sorted(one.amount for one in await world.swept()) == [(250 + place) * USDT for place in range(SEVERAL)]
        await world.assert_database_equals_chain()


class TestRefused:
    async def test_a_cooldown_in_the_middle_defers_its_wallet_alone(self, world: World, desk: Desk) -> None:
        wallets = await thirsty_wallets(world)
        await world.connection.execute("UPDATE chains SET gas_cooldown = %s", [timedelta(minutes=10)])
        early = wallets[SEVERAL // 2]
        (job,) = [one for one in await desk.queue.enqueue_and_claim(GAS, 100) if one.wallet_id == early.id]
        await desk.run(GAS, [job])
        await desk.settle()
        await world.connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [early.id])
        await world.connection.execute(
            "UPDATE chains SET gas_execute_below = 6000000, gas_flag_below = 6000000, gas_amount = 6000000"
        )
        await world.connection.execute(
            "UPDATE job_logs SET status = 'pending', leased_by = NULL WHERE status = 'active' AND NOT awaiting_chain"
        )
        outcomes = await run(desk)
        deferred = outcomes.pop(early.address)
        assert isinstance(deferred, Defer)
        assert deferred.reason.startswith(f"wallet {early.address} had a gas top-up at ")
        assert set(map(type, outcomes.values())) == {Parked}
        await desk.settle()
        assert sorted(one.receiver for one in await world.paid_gas()) == sorted(wallet.address for wallet in wallets)

    async def test_a_budget_that_ends_in_the_middle_pays_up_to_it(self, world: World, desk: Desk) -> None:
        await thirsty_wallets(world)
        await world.connection.execute(
            "UPDATE chains SET gas_max_per_topup = 5000000, gas_max_per_wallet_day = 7000000, "
            "gas_max_per_day = 33000000"
        )
        outcomes = await run(desk)
        deferred = [one for one in outcomes.values() if isinstance(one, Defer)]
        assert all("would pass gas_max_per_day = 33000000" in one.reason for one in deferred)
        await desk.settle()
        spent = await world.row("SELECT sum(amount + fees) AS spent, sum(topups) AS topups FROM gas_spending")
        assert len(await world.paid_gas()) == spent["topups"] == SEVERAL - len(deferred) >= 4
        assert spent["spent"] <= 33 * TRX

    async def test_a_lease_that_was_lost_costs_the_others_nothing(self, world: World, desk: Desk) -> None:
        await thirsty_wallets(world)
        jobs = await desk.queue.enqueue_and_claim(GAS, 100)
        lost = jobs[SEVERAL // 2]

        async def rescue(result: Any) -> Any:
            await world.connection.execute(
                "UPDATE job_logs SET status = 'retrying', leased_by = NULL, run_at = now() + interval '1 hour' "
                "WHERE id = %s",
                [lost.id],
            )
            return result

        desk.provider.after("prepare", rescue)
        await desk.run(GAS, jobs)
        await desk.settle()
        assert lost.wallet_address not in {one.receiver for one in await world.paid_gas()}
        assert len(await world.paid_gas()) == SEVERAL - 1

    async def test_the_signer_forbids_one_of_many(self, world: World, desk: Desk) -> None:
        """Transactions that expire have no order: those behind it are signed."""
        wallets = await thirsty_wallets(world)
        forbidden = wallets[2]
        refuse_one(desk, forbidden, later=False)
        outcomes = await run(desk)
        assert {address for address, one in outcomes.items() if not isinstance(one, Parked)} == {forbidden.address}
        await desk.settle()
        assert len(await world.paid_gas()) == SEVERAL - 1

    @pytest.mark.parametrize("later", [True, False])
    async def test_behind_a_refused_nonce_nothing_is_signed(
        self, evm: EvmWorld, evm_desk: EvmDesk, later: bool
    ) -> None:
        """Those behind it are never signed under their requests, and go out with other nonces the next time."""
        wallets = await thirsty_wallets(evm)
        jobs = await evm_desk.queue.enqueue_and_claim(GAS, 100)
        restore = refuse_one(evm_desk, wallets[4], later=later)
        outcomes = dict(await evm_desk.run(GAS, jobs))
        refused = next(job for job in jobs if job.wallet_id == wallets[4].id)
        place = [str(job.id) for job in jobs].index(str(refused.id))
        assert [isinstance(outcomes[job], Parked) for job in jobs] == [at < place for at in range(len(jobs))]
        restore()
        await pay_the_rest(evm, evm_desk)
        paid = await evm.paid_gas()
        assert len(paid) == len({one.receiver for one in paid}) == (SEVERAL if later else SEVERAL - 1)
        await evm.assert_database_equals_chain()


class TestPoison:
    """What only one job brings with it is its own trouble."""

    async def test_what_a_process_left_open_costs_the_batch_nothing(self, evm: EvmWorld, evm_desk: EvmDesk) -> None:
        await thirsty_wallets(evm)
        first, *rest = await evm_desk.queue.enqueue_and_claim(GAS, 100)
        sign = evm_desk.signer.sign

        async def die(requests: Sequence[SigningRequest]) -> list[Answer]:
            raise RuntimeError("the process dies here")

        evm_desk.signer.sign = die  # type: ignore[method-assign]
        await evm_desk.run(GAS, [first])
        evm_desk.signer.sign = sign  # type: ignore[method-assign]
        await evm.connection.execute("UPDATE job_logs SET run_at = now() + interval '1 hour' WHERE id = %s", [first.id])
        assert [outcome for _, outcome in await evm_desk.run(GAS, rest)] == [Parked()] * len(rest)
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == SEVERAL, "who pays next has sent that one, too"

    async def test_trouble_with_what_a_sender_left_open_is_that_senders(
        self, evm: EvmWorld, evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The others of the batch have asked for their signatures already: they are signed and sent."""
        wallets = [await evm.wallet(usdt=250 * USDT, trx=FINNEY) for _ in range(4)]
        await evm.network.finalize()
        for wallet in wallets:
            await evm.flag(wallet, consolidation=True)
        first, *rest = await evm_desk.queue.enqueue_and_claim(CONSOLIDATION, 100)
        commits, make = evm_desk.sender._commits, evm_desk.sender._commits._first.make

        async def leave_one_open(batch: Sequence[JobAsks], counted: Any) -> list[Any]:
            opened = await make([one for one in batch if one.job is not first], counted)
            found = iter(opened)
            return [UnfinishedNonce("left open") if one.job is first else next(found) for one in batch]

        async def fail(*_: Any) -> Any:
            raise OperationalError("the connection is gone")

        monkeypatch.setattr(commits._first, "make", leave_one_open)
        monkeypatch.setattr(evm_desk.sender.signatures, "finish_open", fail)
        outcomes = dict(await evm_desk.run(CONSOLIDATION, [first, *rest]))
        assert isinstance(outcomes.pop(first), Defer)
        assert list(outcomes.values()) == [Parked()] * len(rest)

    async def test_bytes_that_cannot_be_built(self, world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        await thirsty_wallets(world)
        jobs = await desk.queue.enqueue_and_claim(GAS, 100)
        place = desk.sender.discipline.place

        def poison(payment: Any, parameters: Any, nonce: Any) -> Any:
            if payment.receiver == jobs[3].wallet_address:
                raise ValueError("cannot be built")
            return place(payment, parameters, nonce)

        monkeypatch.setattr(desk.sender.discipline, "place", poison)
        await self.assert_only_the_poisoned_fails(desk, jobs)

    async def test_a_row_that_a_constraint_refuses(self, world: World, desk: Desk) -> None:
        await thirsty_wallets(world)
        jobs = await desk.queue.enqueue_and_claim(GAS, 100)
        await world.connection.execute(
            sql.SQL("ALTER TABLE transfers ADD CONSTRAINT poison CHECK (to_address <> {})").format(
                jobs[3].wallet_address
            )
        )
        await self.assert_only_the_poisoned_fails(desk, jobs)

    async def assert_only_the_poisoned_fails(self, desk: Desk, jobs: Sequence[Job]) -> None:
        outcomes = dict(await desk.run(GAS, jobs))
        assert isinstance(outcomes.pop(jobs[3]), Retry)
        assert list(outcomes.values()) == [Parked()] * (SEVERAL - 1)

    async def test_an_outage_in_the_second_half_takes_nothing_from_the_first(
        self, world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await thirsty_wallets(world)
        jobs = await desk.queue.enqueue_and_claim(GAS, 100)
        together, calls = SecondCommit._together, [0]

        async def fail(commit: SecondCommit, batch: Any, passage: Any) -> Any:
            calls[0] += 1
            if calls[0] == 1:
                raise StateChanged("one of them is elsewhere")
            if calls[0] == 3:
                raise OperationalError("the connection is gone")
            return await together(commit, batch, passage)

        monkeypatch.setattr(SecondCommit, "_together", fail)
        outcomes = [outcome for _, outcome in await desk.run(GAS, jobs)]
        attempts = await world.attempts()
        assert all(row["last_result"] for row in attempts), "what was kept is sent"
        assert outcomes.count(Parked()) == len(attempts) == SEVERAL // 2

    async def test_a_payment_that_is_there_already_leaves_no_bundle_behind(self, world: World, desk: Desk) -> None:
        await thirsty_wallets(world)
        jobs = await desk.queue.enqueue_and_claim(GAS, 100)

        async def insert() -> None:
            await world.connection.execute(
                "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address,"
                " amount, fee_reserved, idempotency_key)"
                " SELECT 'gas', j.id, j.chain_id, j.wallet_id, %s, %s, j.wallet_address, 5000000, 300000, 'by hand'"
                " FROM job_logs j WHERE j.id = %s",
                [world.native_id, world.gas_address, jobs[3].id],
            )

        desk.provider.before("balances", insert)
        outcomes = dict(await desk.run(GAS, jobs))
        assert isinstance(outcomes.pop(jobs[3]), Defer)
        empty = "SELECT FROM bundles b WHERE NOT EXISTS (SELECT FROM transfers t WHERE t.bundle_id = b.id)"
        assert await world.rows(empty) == []


KILLED_AT = (
    CrashPoint.REQUEST_BEFORE,
    CrashPoint.REQUEST_OPEN,
    CrashPoint.REQUEST_AFTER,
    CrashPoint.SIGN_AFTER,
    CrashPoint.BROADCAST_OPEN,
    CrashPoint.BROADCAST_AFTER,
    CrashPoint.SEND_AFTER,
    CrashPoint.REPLY_OPEN,
    CrashPoint.REPLY_AFTER,
)


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A crash point ends the handler where it stands, and not this process."""

    of_others = os.kill

    def kill(pid: int, signal_number: int) -> None:
        if pid != os.getpid():
            of_others(pid, signal_number)
            return
        arm(None)
        raise Killed

    monkeypatch.setattr(os, "kill", kill)
    yield
    arm(None)


@pytest.mark.usefixtures("deadly")
class TestKilled:
    """Whoever comes next pays the rest of the batch, and nobody twice."""

    @pytest.mark.parametrize("point", KILLED_AT)
    async def test_within_a_batch(self, world: World, desk: Desk, other_desk: Desk, point: CrashPoint) -> None:
        wallets = await thirsty_wallets(world)
        arm(point)
        with pytest.raises(Killed):
            await desk.run(GAS)
        await self.rescue(world)
        for _ in range(3):
            await other_desk.run(GAS)
            await other_desk.replacements().round()
            await send_again(world)
            await other_desk.settlement.round()  # which sends again what is in no block
            await other_desk.settle()
        assert sorted(one.receiver for one in await world.paid_gas()) == sorted(wallet.address for wallet in wallets)
        await world.assert_database_equals_chain()

    @pytest.mark.parametrize("point", [*KILLED_AT, CrashPoint.RESERVE_OPEN])
    async def test_within_a_batch_of_nonces(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, point: CrashPoint
    ) -> None:
        wallets = await thirsty_wallets(evm)
        arm(point)
        with pytest.raises(Killed):
            await evm_desk.run(GAS)
        await self.rescue(evm)
        await pay_the_rest(evm, other_evm_desk)
        paid = [one.receiver for one in await evm.paid_gas()]
        assert sorted(paid) == sorted(wallet.address for wallet in wallets)
        await evm.assert_database_equals_chain()

    async def rescue(self, world: World) -> None:
        """What the sweep does to attempts whose worker is gone."""
        await world.connection.execute(
            "UPDATE job_logs SET status = 'retrying', leased_by = NULL, run_at = now() "
            "WHERE status = 'active' AND NOT awaiting_chain"
        )


class TestNodes:
    async def test_a_node_that_answers_half_of_a_batch(self, world: World, desk: Desk) -> None:
        """Half of the replies are lost: those bytes are out all the same, and nothing is paid again."""
        wallets = await thirsty_wallets(world)
        await world.devnet.add_fault(FaultKind.LOST_REPLY, "wallet/broadcasthex", count=SEVERAL // 2)
        assert set(map(type, (await run(desk)).values())) == {Parked}
        await desk.settle()
        assert sorted(one.receiver for one in await world.paid_gas()) == sorted(wallet.address for wallet in wallets)
        await world.assert_database_equals_chain()


def refuse_one(desk: Desk, wallet: Wallet, *, later: bool) -> Any:
    """The signer refuses this wallet's payment, for now or for good. Returns what takes that back."""
    sign, allow = desk.signer.sign, desk.signer.rules.allow

    async def sign_others(requests: Sequence[SigningRequest]) -> list[Answer]:
        at = next((place for place, one in enumerate(requests) if one.receiver == wallet.address), len(requests))
        answers = await sign(requests[:at])
        if at < len(requests):
            answers.append(RefusedLater(requests[at].request_id, "day_max is reached"))
        for one in requests[at + 1 :]:
            (answer,) = await desk.signer.withdraw([one])
            assert isinstance(answer, RefusedNever)
            answers.append(RefusedNever(one.request_id, "an earlier one of its batch was refused", Never.UNREACHED))
        return answers

    def allow_others(payment: Any, cost: Any) -> None:
        if payment.receiver == wallet.address:
            raise SigningRefused("this wallet gets nothing")
        allow(payment, cost)

    if later:
        desk.signer.sign = sign_others  # type: ignore[method-assign]
    else:
        desk.sender.check = lambda *_: None  # type: ignore[method-assign]
        desk.signer.rules.allow = allow_others  # type: ignore[method-assign]

    def restore() -> None:
        desk.signer.sign = sign  # type: ignore[method-assign]

    return restore


async def send_again(world: World) -> None:
    """In the next round of the confirmation worker, what is in no block."""
    await world.connection.execute(
        "UPDATE chain_transactions SET last_broadcast_at = NULL WHERE state = 'broadcasting'"
    )


async def pay_the_rest(world: EvmWorld, desk: EvmDesk) -> None:
    """Until nothing waits any more: jobs that were deferred, and gaps."""
    for _ in range(8):
        await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
        await send_again(world)
        jobs: Sequence[Job] = await desk.queue.enqueue_and_claim(GAS, 100)
        await desk.run(GAS, jobs)
        await desk.replacements().round()
        await desk.settlement.round()
        await desk.settle()
