"""What only TRON does to payments: permissions that are changed, refusals, energy that grows dearer, tokens with a
fee."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pipeline.admin.checks.findings import Findings, Level
from pipeline.admin.checks.tron import check_signer
from pipeline.chains.errors import ChainUnavailable, PermissionChanged
from pipeline.chains.fees import TronFee
from pipeline.chains.values import Asset, BroadcastOutcome, Payment
from pipeline.devnet.faults import FaultKind
from pipeline.payments.settle import progress
from pipeline.queue.jobs import Defer, Done, Failed, JobType, Parked, Retry
from tests.chains.tron.artifacts import creation
from tests.chaos.permissions import take_over
from tests.chaos.world import Desk, World
from tests.db.paying_kit import outlived, states
from tests.logs import said
from tests.policy import allow
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


async def refused(world: World, code: str, message: str) -> None:
    """Every broadcast is answered like this and forgotten."""
    await world.devnet.add_fault(FaultKind.FALSE_CODE, "wallet/broadcasthex", code=code, message=message)


async def died(world: World, desk: Desk) -> None:
    """What was signed until now has expired, and a node is sure of it."""
    await world.devnet.advance(30)
    await outlived(world, desk)


class TestPermissions:
    async def test_a_wallet_that_was_taken_over_is_a_dead_letter_before_anything_is_signed(
        self, world: World, desk: Desk, ready: Wallet
    ) -> None:
        await take_over(world, ready.derivation_index)
        await world.devnet.solidify()
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Failed)
        assert outcome.error.startswith(f"the owner permission of {ready.address} does not let its own key sign alone")
        assert await world.attempts() == []

    async def test_no_gas_is_given_to_whoever_took_it_over(self, world: World, desk: Desk) -> None:
        """With tokens, and without any: only the account itself shows it then."""
        wallets = [await world.wallet(usdt=usdt, trx=TRX // 2) for usdt in (250 * USDT, 0)]
        await world.devnet.solidify()
        for wallet in wallets:
            await take_over(world, wallet.derivation_index)
            await world.flag(wallet, gas=True)
        await world.devnet.solidify()
        outcomes = {job.wallet_address: outcome for job, outcome in await desk.run(GAS)}
        for wallet in wallets:
            outcome = outcomes[wallet.address]
            assert isinstance(outcome, Failed)
            assert wallet.address in outcome.error
            assert "does not let its own key sign alone" in outcome.error
        assert await world.paid_gas() == []
        assert await world.attempts() == []

    async def test_a_gas_wallet_that_was_taken_over_lets_all_top_ups_wait_and_says_so(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await take_over(world, 0)
        await world.devnet.solidify()
        with said() as lines:
            ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert world.gas_address in outcome.reason
        assert any("No top-up is made until it is yours again" in line for line in lines)
        assert await world.attempts() == []

    async def test_doctor_fails_on_a_gas_wallet_that_was_taken_over(self, world: World, desk: Desk) -> None:
        coin = Asset("TRX", 6)

        async def checked() -> tuple[Level, str]:
            found = Findings()
            await check_signer(found, "tron", coin, world.gas_address, world.treasury, desk.real_provider)
            (finding,) = found.all
            return finding.level, finding.message

        await world.devnet.solidify()
        assert (await checked())[0] is Level.OK
        await take_over(world, 0)
        await world.devnet.mine()
        level, message = await checked()
        assert (level, world.gas_address in message) == (Level.FAIL, True)

    async def test_bytes_that_were_signed_before_are_refused_and_the_job_fails_once(
        self, world: World, desk: Desk, ready: Wallet
    ) -> None:
        """Taken over between the simulation and the broadcast: one signature, proved dead by the chain, and a dead
        letter."""
        prepare = desk.real_provider.prepare

        async def too_late(*arguments: Any) -> Any:
            parameters = await prepare(*arguments)
            await take_over(world, ready.derivation_index)
            await world.devnet.mine()
            return parameters

        desk.real_provider.prepare = too_late  # type: ignore[method-assign]
        await desk.settlement.round()
        assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
        (attempt,) = await world.attempts()
        assert "is not contained of permission" in attempt["last_result"]
        await died(world, desk)
        assert (await states(world))[1:] == (["expired"], ["expired"])
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Failed)
        assert "does not let its own key sign alone" in outcome.error
        assert await states(world) == (["failed"], ["rejected"], ["expired"])
        assert await world.swept() == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("SIGERROR", "Validate signature error: sig error"),
            ("CONTRACT_VALIDATE_ERROR", "Contract validate error : account does not exist"),
            ("BANDWITH_ERROR", "Account resource insufficient error."),
        ],
    )
    async def test_what_nodes_refuse_again_and_again_ends_as_a_dead_letter_with_the_reason(
        self, world: World, desk: Desk, thirsty: Wallet, code: str, message: str
    ) -> None:
        await refused(world, code, message)
        await desk.settlement.round()
        for attempt in (1, 2):
            assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
            await died(world, desk)
            (job,) = await world.jobs()
            assert (job["status"], job["retry_count"]) == ("retrying", attempt)
        await desk.run(GAS)
        with said() as lines:
            await died(world, desk)
        (job,) = await world.jobs()
        assert (job["status"], job["retry_count"], job["data"]["outcome"]) == ("failed", 3, "expired")
        assert job["error_message"].endswith(f"nodes refused it: {code} {message}")
        assert [line for line in lines if job["job_id"] in line and message in line]
        assert await states(world) == (["failed"], ["rejected"], ["expired"] * 3)
        assert await world.paid_gas() == []

    async def test_a_refusal_is_not_forgotten_by_the_next_node(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """A node remembers what it refused: sent once more, it says that it knows the bytes."""
        await desk.run(GAS)
        (attempt,) = await world.attempts()

        async def noted(*replies: str) -> str:
            for reply in replies:
                await desk.store.record_reply(attempt["id"], reply)
            return str((await world.attempts())[0]["last_result"])

        refusal = str(BroadcastOutcome.REFUSED) + ": SIGERROR no"
        duplicate = f"{BroadcastOutcome.KNOWN}: DUP_TRANSACTION_ERROR Transaction already exists."
        assert await noted(refusal, duplicate, "unknown: timeout", "ChainUnavailable: x") == refusal
        assert await noted("refused: BANDWITH_ERROR y") == "refused: BANDWITH_ERROR y"
        assert await noted("accepted: SUCCESS", duplicate) == duplicate

    async def test_bytes_that_were_taken_in_the_end_use_up_no_retry(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """Refused by one node, taken by another, and lost: nothing speaks against signing anew."""
        await world.devnet.add_fault(FaultKind.FALSE_CODE, "wallet/broadcasthex", code="SIGERROR", count=1)
        await desk.settlement.round()
        await desk.run(GAS)
        await world.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 hour'")
        await desk.settlement.round()
        assert (await world.attempts())[0]["last_result"].startswith("accepted")
        await world.devnet.drop_pending()
        await died(world, desk)
        (job,) = await world.jobs()
        assert (job["status"], job["retry_count"]) == ("retrying", 0)
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[:2] == (["completed"], ["final"])

    async def test_old_bytes_are_no_reason_against_the_payment(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await refused(world, "TRANSACTION_EXPIRATION_ERROR", "Transaction expired")
        await desk.settlement.round()
        await desk.run(GAS)
        assert (await world.attempts())[0]["last_result"].startswith("outdated")
        await died(world, desk)
        assert (await world.jobs())[0]["retry_count"] == 0

    async def test_what_no_block_takes_is_not_signed_for_ever(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """Nodes say SUCCESS and relay nothing. After ten attempts each uses up a retry."""
        await world.devnet.add_fault(FaultKind.SWALLOWED, "wallet/broadcasthex")
        await desk.settlement.round()
        for _ in range(12):
            await desk.run(GAS)
            await died(world, desk)
        assert (await states(world))[::2] == (["failed"], ["expired"] * 12)
        assert "can never land" in (await world.jobs())[0]["error_message"]
        await world.devnet.clear_faults()
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[1] == ["rejected", "final"], "the flag is up still, and a new job decides"


class TestFees:
    async def test_a_token_that_took_a_fee_is_settled_as_what_happened_and_said(self, world: World, desk: Desk) -> None:
        """Its owner switched the fee on between simulation and block."""
        wallet = await with_fee_token(world, desk)
        await desk.settlement.round()
        estimate = desk.real_provider.estimate

        async def generous(payment: Payment) -> TronFee:
            """What would be enough for the two writes more that a fee takes."""
            found = replace(await estimate(payment), fee_limit=20 * TRX)
            await world.devnet.call(world.token, "setParams(uint256,uint256)", 100, 10 * USDT)
            await world.devnet.mine()
            return found

        desk.real_provider.estimate = generous  # type: ignore[method-assign]
        assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
        with said("CRITICAL") as lines:
            await desk.settle()
        (transfer,) = await world.transfers()
        assert (transfer["state"], int(transfer["arrived"]), int(transfer["amount"])) == (
            "final",
            990 * USDT,
            1_000 * USDT,
        )
        assert "990 of 1000 USDT arrived" in transfer["error_message"]
        (line,) = lines
        assert transfer["error_message"] in line
        assert world.token in line
        (alarm,) = await desk.settlement.tidy()
        assert alarm.startswith(f"transfer {transfer['id']}: ")
        assert await desk.settlement.tidy() == [], "said once"
        (job,) = await world.jobs()
        assert (job["status"], job["error_message"]) == ("failed", transfer["error_message"])
        assert (job["data"]["outcome"], job["data"]["arrived"]) == ("sent otherwise", str(990 * USDT))
        assert await world.row("SELECT needs_consolidation FROM wallets WHERE id = %s", wallet.id) == {
            "needs_consolidation": False
        }
        desk.real_provider.estimate = estimate  # type: ignore[method-assign]
        await world.devnet.send_token(world.token, wallet.address, 500 * USDT)
        await world.devnet.solidify()
        await world.flag(wallet, consolidation=True)
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Retry), "the next one is refused beforehand"
        assert "takes a fee on transfers" in outcome.error
        assert len(await world.attempts()) == 1

    async def test_a_job_that_is_retried_after_that_pays_nothing_again(self, world: World, desk: Desk) -> None:
        await self.test_a_token_that_took_a_fee_is_settled_as_what_happened_and_said(world, desk)
        await world.connection.execute("UPDATE job_logs SET status = 'failed' WHERE status = 'retrying'")
        await world.connection.execute("UPDATE wallets SET needs_consolidation = false")
        first = (await world.jobs())[0]["id"]
        await world.connection.execute(
            "UPDATE job_logs SET status = 'pending', completed_at = NULL WHERE id = %s", [first]
        )
        ((_, outcome),) = await desk.run(CONSOLIDATION)
        assert isinstance(outcome, Done)
        assert outcome.data["outcome"] == "sent"

    async def test_what_arrived_is_written_once_and_only_of_what_is_final(self, world: World, desk: Desk) -> None:
        wallet = await with_fee_token(world, desk)
        await desk.run(CONSOLIDATION)
        with pytest.raises(psycopg.errors.CheckViolation, match="arrived_otherwise_means_final"):
            await world.connection.execute("UPDATE transfers SET arrived = 5 WHERE wallet_id = %s", [wallet.id])
        await desk.settle()
        with pytest.raises(psycopg.errors.DatabaseError, match="does not change any more"):
            await world.connection.execute("UPDATE transfers SET arrived = 5 WHERE wallet_id = %s", [wallet.id])


class TestStandstill:
    """A node goes on answering, and nothing is settled: said after ten minutes, with what to do, until it moves
    again."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The settlement's, moved by the test."""
        now = [1_000.0]
        monkeypatch.setattr(progress, "_now", lambda: now[0])
        return now

    async def test_a_node_that_is_cut_off_from_its_peers(
        self, world: World, desk: Desk, thirsty: Wallet, clock: list[float]
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await desk.settlement.round()
        await world.devnet.freeze()
        await world.devnet.solidify()
        for _ in range(2):
            clock[0] += 300
            await desk.settlement.round()
        assert await desk.settlement.tidy() == []
        clock[0] += 1
        (alarm,) = await desk.settlement.tidy()
        assert alarm.startswith("for 10 minutes no final block after ")
        assert "give the chain another node" in alarm
        await world.devnet.thaw()
        await desk.settlement.round()
        assert await desk.settlement.tidy() == []
        assert (await states(world))[1] == ["final"]

    async def test_a_node_without_receipts(self, world: World, desk: Desk, thirsty: Wallet, clock: list[float]) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        for method in ("gettransactioninfobyblocknum", "gettransactioninfobyid"):
            body: Any = [] if method.endswith("num") else {}
            await world.devnet.add_fault(FaultKind.FALSE_REPLY, f"walletsolidity/{method}", body=body)
        await world.devnet.solidify()
        for _ in range(2):
            with pytest.raises(ChainUnavailable):
                await desk.settlement.round()
            clock[0] += 301
        (alarm,) = await desk.settlement.tidy()
        assert "no receipts for block" in alarm
        await world.devnet.clear_faults()
        await desk.settlement.round()
        assert await desk.settlement.tidy() == []

    async def test_a_process_that_stood_by_knows_of_no_standstill(
        self, world: World, desk: Desk, thirsty: Wallet, clock: list[float]
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await desk.settlement.round()
        clock[0] += 3600
        assert await desk.settlement.tidy() == [], "it leads again, and has not looked yet"
        await desk.settlement.round()
        assert await desk.settlement.tidy() == []

    async def test_nothing_that_is_out_is_no_alarm(self, world: World, desk: Desk, clock: list[float]) -> None:
        for _ in range(3):
            await desk.settlement.round()
            clock[0] += 3600
        assert await desk.settlement.tidy() == []


async def with_fee_token(world: World, desk: Desk) -> Wallet:
    """A wallet with 1,000 of a token whose fee switch is off, in the place of USDT."""
    contract, _ = await world.devnet.deploy(creation("SwitchedFeeToken", 10**15), "Tether")
    await world.devnet.mine()
    await world.connection.execute(
        "UPDATE asset_on_chain SET contract_address = %s WHERE id = %s", [contract, world.token_id]
    )
    world.token = contract
    desk.may_sign(allow(desk.sender.rules, [contract]))
    wallet = await world.wallet(usdt=1_000 * USDT, trx=50 * TRX)
    await world.devnet.solidify()
    await world.flag(wallet, consolidation=True)
    return wallet


async def test_the_provider_says_it_of_any_account(world: World, desk: Desk, ready: Wallet) -> None:
    await take_over(world, ready.derivation_index)
    await world.devnet.solidify()
    coin = Payment(ready.address, world.treasury, Asset("TRX", 6), TRX)
    with pytest.raises(PermissionChanged) as raised:
        await desk.real_provider.estimate(coin)
    assert raised.value.address == ready.address
    to_it = Payment(world.gas_address, ready.address, Asset("TRX", 6), TRX)
    assert not (await desk.real_provider.estimate(to_it)).receiver_signs
    assert (
        await desk.real_provider.estimate(Payment(world.gas_address, world.treasury, coin.asset, TRX))
    ).receiver_signs
