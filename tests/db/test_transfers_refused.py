"""Refusals of the signer, of both kinds, single and in batches, on both families: what becomes of intents and nonces.

The signer refuses here what this host would have asked for: its policy is another one than the asker's copy."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from psycopg import AsyncConnection

from pipeline.chains.kinds import Kind
from pipeline.db.rows import fetch
from pipeline.payments.send import first_commit, request_store
from pipeline.queue.jobs import Defer, Failed, JobType, Outcome, Parked
from pipeline.signing.request import Answer, Never, RefusedLater, RefusedNever, Signed, SigningRequest
from pipeline.signing.rules import SigningRules
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.paying_kit import leave_asked, outlived, requests, states
from tests.db.test_transfers_assets import Several, several
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION

__all__ = ["several"]


def stingy(desk: Desk, **limits: int) -> None:
    """The signer's policy, and not the asker's copy of it."""
    rules = desk.sender.rules
    desk.signer.rules = SigningRules(replace(rules.policy, **limits), rules._ledger)  # type: ignore[arg-type]


def generous(desk: Desk) -> None:
    desk.signer.rules = desk.sender.rules


async def again(world: World, desk: Desk, job_type: JobType = GAS) -> Outcome:
    """The job once more, when it is due."""
    await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
    ((_, outcome),) = await desk.run(job_type)
    return outcome


async def grown_old(world: World) -> None:
    """What was asked for is older than any signature takes."""
    await world.connection.execute(
        "SET session_replication_role = replica; UPDATE signing_requests SET created_at = now() - interval '3 s';"
        "RESET session_replication_role"
    )


class TestLater:
    async def test_on_tron_the_row_stays_and_is_asked_for_again(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        stingy(desk, day_max=1)
        for _ in range(2):
            outcome = await again(world, desk)
            assert isinstance(outcome, Defer)
            assert "day_max of the signing policy" in outcome.reason
            assert (await requests(world), (await states(world))[1:]) == (["asked"], (["requested"], []))
        assert (await world.jobs())[0]["retry_count"] == 0
        generous(desk)
        assert await again(world, desk) == Parked()
        await desk.settle()
        assert await requests(world) == ["signed"]
        assert len(await world.paid_gas()) == 1

    async def test_on_tron_what_has_expired_meanwhile_is_withdrawn_and_decided_anew(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """Nothing is signed that no block can take any more."""
        stingy(desk, day_max=1)
        await desk.run(GAS)
        await outlived(world, desk)
        await world.connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE signing_requests SET expiration = expiration - interval '1 day';"
            "RESET session_replication_role"
        )
        generous(desk)
        assert await again(world, desk) == Parked()
        await desk.settle()
        assert await requests(world) == ["refused", "signed"]
        assert (await states(world))[1:] == (["final"], ["final"])
        assert len(await world.paid_gas()) == 1

    async def test_on_evm_its_nonce_stays_and_comes_first(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Whoever pays next asks for it again, and is refused with it."""
        stingy(evm_desk, day_max=1)
        assert isinstance(await again(evm, evm_desk), Defer)
        await grown_old(evm)
        other = await evm.wallet()
        await evm.connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [other.id])
        for _ in range(2):
            await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
            assert all(isinstance(outcome, Defer) for _, outcome in await evm_desk.run(GAS))
        assert await evm.nonces() == [(0, "reserved")]
        assert await requests(evm) == ["asked"]
        generous(evm_desk)
        await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked(), Parked()]
        await evm_desk.settle()
        assert await evm.nonces() == [(0, "used"), (1, "used")]
        assert len(await evm.paid_gas()) == 2
        await evm.assert_database_equals_chain()


class TestNever:
    @pytest.mark.parametrize("over", ["terms", "forbidden"])
    async def test_on_tron(self, world: World, desk: Desk, thirsty: Wallet, over: str) -> None:
        await self.is_refused(world, desk, over)
        if over == "terms":
            generous(desk)
            assert await again(world, desk) == Parked()
            await desk.settle()
            assert (await states(world))[:2] == (["completed"], ["final"]), "the same intent, asked for anew"
            assert await requests(world) == ["refused", "signed"]
            assert len(await world.paid_gas()) == 1

    @pytest.mark.parametrize("over", ["terms", "forbidden"])
    async def test_on_evm_its_nonce_is_given_back(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, over: str
    ) -> None:
        await self.is_refused(evm, evm_desk, over)
        assert await evm.nonces() == []
        other = await evm.wallet()
        await evm.connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [other.id])
        generous(evm_desk)
        await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
        outcomes = [outcome for _, outcome in await evm_desk.run(GAS)]
        assert outcomes == [Parked(), Parked()], "the wallet whose job has failed gets another"
        await evm_desk.settle()
        assert [nonce for nonce, _ in await evm.nonces()] == list(range(len(await evm.paid_gas())))
        await evm.assert_database_equals_chain()

    @staticmethod
    async def is_refused(world: World, desk: Desk, over: str) -> None:
        if over == "terms":
            stingy(desk, fee_max=1)
            outcome = await again(world, desk)
            assert isinstance(outcome, Defer)
            assert "fee_max" in outcome.reason
            assert await states(world) == (["pending"], ["requested"], [])
        else:
            sign = desk.signer.sign

            async def told_another_wallet(asked: Sequence[SigningRequest]) -> list[Answer]:
                return await sign([replace(one, wallet_index=4) for one in asked])

            desk.signer.sign = told_another_wallet  # type: ignore[method-assign]
            outcome = await again(world, desk)
            desk.signer.sign = sign  # type: ignore[method-assign]
            assert isinstance(outcome, Failed)
            assert "is not derived from our mnemonic" in outcome.error
            assert await states(world) == (["failed"], ["rejected"], [])
        assert await requests(world) == ["refused"]


class TestAnswers:
    """A signer that answers something else is not believed."""

    @pytest.mark.parametrize("lie", ["another signature", "other bytes", "another txid"])
    async def test_what_nobody_asked_for_is_not_kept(self, world: World, desk: Desk, thirsty: Wallet, lie: str) -> None:
        sign = desk.signer.sign

        async def falsify(asked: Sequence[SigningRequest]) -> list[Answer]:
            (answer,) = await sign(asked)
            assert isinstance(answer, Signed)
            match lie:
                case "another signature":
                    return [replace(answer, signature=bytes(64) + b"\x01")]
                case "other bytes":
                    return [replace(answer, raw=answer.raw + b"\x00")]
                case _:
                    return [replace(answer, txid="00" * 32)]

        desk.signer.sign = falsify  # type: ignore[method-assign]
        assert isinstance(await again(world, desk), Defer)
        assert (await requests(world), (await states(world))[1:]) == (["asked"], (["requested"], []))
        desk.signer.sign = sign  # type: ignore[method-assign]
        assert await again(world, desk) == Parked()
        await desk.settle()
        assert len(await world.paid_gas()) == 1


class TestBatch:
    """Several tokens of one wallet are one batch of one sender."""

    @pytest.mark.parametrize("kind", ["later", "never"])
    async def test_on_evm(self, several: Several, kind: str) -> None:
        await several.token("PlainToken", arguments=f"{18:064x}")
        await several.token("SilentToken", decimals=6)
        await several.wallet(PlainToken=300, SilentToken=400)
        world, desk = several.world, several.desk
        sender = (await world.row("SELECT address FROM wallets"))["address"]
        refuse_at(desk, 2, kind)
        assert await several.run() == Parked(), "the first is signed, and goes out"
        found = await requests(world)
        expected = ["asked" if kind == "later" else "refused", "refused"]
        assert sorted(found) == sorted(["signed", *expected])
        left = await world.rows("SELECT nonce, state FROM nonces WHERE sender = %s ORDER BY nonce", sender)
        assert [row["nonce"] for row in left] == ([0, 1] if kind == "later" else [0])
        assert sorted((await states(world))[1]) == ["broadcasting", "requested", "requested"]

        await desk.settle()
        assert await again_until_done(several) == ["completed"]
        assert await several.swept() == {"USDT": 250 * USDT, "PlainToken": 300, "SilentToken": 400}
        used = await world.rows("SELECT nonce, state FROM nonces WHERE sender = %s ORDER BY nonce", sender)
        assert [(row["nonce"], row["state"]) for row in used] == [(0, "used"), (1, "used"), (2, "used")]
        await world.assert_database_equals_chain()

    @pytest.mark.parametrize("kind", ["later", "never"])
    async def test_on_tron(self, world: World, desk: Desk, kind: str) -> None:
        second, _ = await world.devnet.deploy_token()
        await world.connection.execute(
            "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, "
            "consolidate_execute_min) VALUES (%s, 'USDD', %s, 6, %s, %s)",
            [world.chain_id, second, 200 * USDT, 100 * USDT],
        )
        wallet = await world.wallet(usdt=250 * USDT, trx=90 * TRX)
        await world.devnet.mint(second, wallet.address, 300 * USDT)
        await world.devnet.solidify()
        await world.flag(wallet, consolidation=True)
        rules = desk.sender.rules
        listed = {**rules.policy.contracts, second: replace(rules.policy.contracts[world.token], address=second)}
        desk.may_sign(SigningRules(replace(rules.policy, contracts=listed), rules._ledger))
        refuse_at(desk, 2, kind)
        assert await again(world, desk, CONSOLIDATION) == Parked()
        assert sorted(await requests(world)) == sorted(["signed", "asked" if kind == "later" else "refused"])
        await desk.settle()
        assert await again(world, desk, CONSOLIDATION) == Parked()
        await desk.settle()
        moved = sorted(one.amount for one in await world.devnet.audit() if one.receiver == world.treasury)
        assert moved == [250 * USDT, 300 * USDT]
        assert (await states(world))[:2] == (["completed"], ["final", "final"])


def refuse_at(desk: Desk, place: int, kind: str) -> None:
    """The signer signs up to the ``place``-th of the next batch, and refuses that one."""
    sign, withdraw = desk.signer.sign, desk.signer.withdraw

    async def up_to(asked: Sequence[SigningRequest]) -> list[Answer]:
        desk.signer.sign = sign  # type: ignore[method-assign]
        head, refused, rest = asked[: place - 1], asked[place - 1], asked[place:]
        answers = await sign(head)
        if kind == "later":
            answers.append(RefusedLater(refused.request_id, "the disk is full"))
        else:
            answers += await withdraw([refused])
        unreached = [replace(one, why=Never.UNREACHED) for one in await withdraw(rest) if isinstance(one, RefusedNever)]
        return [*answers, *unreached]

    desk.signer.sign = up_to  # type: ignore[method-assign]


async def again_until_done(several: Several) -> list[str]:
    """The job comes back for what was left; its status at the end."""
    for _ in range(3):
        jobs = await several.world.jobs()
        if [job["status"] for job in jobs] == ["completed"]:
            break
        await several.world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status <> 'completed'")
        await several.run()
        await several.desk.settle()
    return [job["status"] for job in await several.world.jobs()]


async def test_a_gap_that_is_refused_is_to_be_filled_again(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
) -> None:
    await evm.connection.execute(
        "INSERT INTO senders (chain_id, sender, first_nonce) VALUES (%s, %s, 0)", [evm.chain_id, evm.gas_address]
    )
    await evm.connection.execute("SELECT void_nonces(%s, %s, 0)", [evm.chain_id, evm.gas_address])
    stingy(evm_desk, fee_max=1)
    assert await evm_desk.replacements().round() == 0
    assert await evm.nonces() == [(0, "void")]
    assert (await states(evm))[1] == ["rejected"]
    generous(evm_desk)
    assert await evm_desk.replacements().round() == 1
    await evm_desk.settle()
    assert await evm.nonces() == [(0, "used")]
    assert [one.amount for one in await evm.gaps()] == [1]


@pytest.mark.parametrize("signed", [False, True])
async def test_replacements_finish_what_a_dead_process_has_asked_for(
    world: World, desk: Desk, thirsty: Wallet, signed: bool
) -> None:
    """Its job waits for a retry, and nothing has to wait for that."""
    await leave_asked(world, desk, signed=signed)
    await world.connection.execute("UPDATE job_logs SET run_at = now() + interval '5 minutes'")
    assert await desk.replacements(Kind.CONSOLIDATION).round() == 0, "another kind's keys"
    assert await desk.replacements().round() == 1
    assert await states(world) == (["active"], ["broadcasting"], ["broadcasting"])
    await desk.settle()
    assert (await states(world))[0] == ["completed"]
    assert len(await world.paid_gas()) == 1


async def test_a_refusal_and_the_next_payment_of_its_sender_lock_in_one_order(
    evm: EvmWorld,
    evm_desk: EvmDesk,
    other_evm_desk: EvmDesk,
    thirsty_evm: Wallet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nonces of the sender, and then what is spent on gas: both change both."""
    await leave_asked(evm, evm_desk)
    (open_request,) = await evm_desk.sender.signatures.requests.open(evm.chain_id, [Kind.GAS])
    next_one = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(next_one, gas=True, consolidation=True)
    is_rejected, is_next = asyncio.Event(), asyncio.Event()

    async def pause(conn: AsyncConnection[Any], name: str, **parameters: Any) -> list[Any]:
        found = await fetch(conn, name, **parameters)
        if name == "payments/send/reject_bundle":
            is_rejected.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_next.wait(), 2)
        elif name == "payments/lock_senders" and is_rejected.is_set():
            is_next.set()
        return found

    async def pay_next() -> Outcome:
        await is_rejected.wait()
        (job,) = await other_evm_desk.queue.enqueue_and_claim(GAS, 1)
        ((_, outcome),) = await other_evm_desk.run(GAS, [job])
        return outcome

    for module in (request_store, first_commit):
        monkeypatch.setattr(module, "fetch", pause)
    refuse = evm_desk.sender.signatures.requests.refuse(open_request, "forbidden", reject=True)
    assert await asyncio.gather(refuse, pay_next()) == [True, Parked()]
    assert [state for _, state in await evm.nonces()] == ["reserved"]
