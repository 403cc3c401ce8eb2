"""Unrecorded transactions of our own senders, over anvil: of a database that lost its last commits, or
of somebody else who has the key. Nothing is paid beside them, nothing is guessed, and what was ours comes back."""

from dataclasses import replace

import pytest

from pipeline.chains.evm.provider import SenderNonces
from pipeline.chains.kinds import Kind
from pipeline.payments.reconcile import nonce_search, reconciliation
from pipeline.queue.jobs import Defer, Done, JobType, Parked
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.db.paying_kit import states
from tests.db.reconcile_kit import again, reasons, rounds, starve, unreconciled
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


class TestLostCommits:
    @pytest.mark.parametrize("where", ["pool", "block", "final"])
    async def test_a_top_up_that_the_database_forgot(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, where: str
    ) -> None:
        """Wherever it is when the other database takes over: one payment, and it is recorded in the end."""
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        if where == "block":
            await evm.network.mine()
        elif where == "final":
            await evm_desk.settle()
        await evm.lose_commits()
        restarted = EvmDesk(evm, evm_desk.pool, evm_desk.confirming)
        await again(evm, restarted)
        await rounds(evm, restarted)
        for _ in range(2):
            await again(evm, restarted)
            await rounds(evm, restarted)
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty_evm.address]
        if where != "pool":
            # Nobody paid and so nobody looked: what the wallet holds says that there is nothing to do.
            assert (await states(evm))[0] == ["completed"]
            await evm.flag(await evm.wallet(), gas=True)
            reasons(await restarted.run(GAS))
            await rounds(evm, restarted, 2)
        assert await evm.nonces() == [(0, "used")]
        await evm.assert_database_equals_chain()
        await restarted.close()

    async def test_the_forgotten_and_another_wallets_payment(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """The sender pays somebody else first: not before it is known what the forgotten one did."""
        await evm_desk.run(GAS)
        await evm.lose_commits()
        other = await evm.wallet()
        await evm.flag(thirsty_evm)
        await evm.connection.execute("UPDATE job_logs SET status = 'cancelled', completed_at = now()")
        await evm.flag(other, gas=True)
        (reason,) = reasons(await evm_desk.run(GAS))
        assert "has unrecorded transactions" in reason
        await rounds(evm, evm_desk)
        assert await again(evm, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty_evm.address, other.address]
        found = await evm.row(
            "SELECT t.kind, t.state, t.wallet_id, j.status, j.data FROM transfers t JOIN job_logs j ON j.id = t.job_id "
            "WHERE t.found_on_chain"
        )
        assert (found["kind"], found["state"], found["status"]) == ("gas", "final", "completed")
        assert found["wallet_id"] == thirsty_evm.id
        assert found["data"]["outcome"] == "found on the chain"
        assert (await evm.row("SELECT sum(amount) AS all FROM gas_spending"))["all"] == 2 * FINNEY, "it is budgeted"
        await evm.assert_database_equals_chain()

    async def test_a_consolidation_that_the_database_forgot(self, evm: EvmWorld, evm_desk: EvmDesk) -> None:
        wallet = await evm.wallet(usdt=250 * USDT, trx=FINNEY)
        await evm.network.finalize()
        await evm.flag(wallet, consolidation=True)
        await evm_desk.run(CONSOLIDATION)
        await evm.lose_commits()
        assert Parked() not in await again(evm, evm_desk, CONSOLIDATION)
        await evm.network.fund(wallet.address, 0, 300 * USDT)
        await rounds(evm, evm_desk)
        (outcome,) = await again(evm, evm_desk, CONSOLIDATION)
        assert isinstance(outcome, Defer)
        await rounds(evm, evm_desk)
        assert await again(evm, evm_desk, CONSOLIDATION) == [Parked()], "what came meanwhile"
        await evm_desk.settle()
        assert [one.amount for one in await evm.swept()] == [250 * USDT, 300 * USDT]
        await evm.assert_database_equals_chain()

    async def test_many_of_a_backup_of_yesterday(
        self, known: EvmWorld, evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The search goes on over several rounds, and waits for the last of them."""
        monkeypatch.setattr(nonce_search, "BLOCKS_A_ROUND", 16)
        wallets = [await known.wallet() for _ in range(3)]
        for nonce, wallet in enumerate(wallets, start=1):
            await known.send_unrecorded(nonce, wallet.address, FINNEY)
            await known.network.mine(30)
        await known.flag(wallets[0], gas=True)
        await known.network.finalize()
        assert await again(known, evm_desk) == [
            Done({"outcome": "skipped", "reason": "holds 0.001 BNB, not below 0.0002 BNB"}, clear_flag=True)
        ]
        thirsty_evm = await known.wallet()
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        searched = 0
        while await unreconciled(known):
            await evm_desk.settlement.round()
            searched += 1
            assert searched < 20
        assert searched > 4, "one round would have read too many blocks"
        assert await known.nonces() == [(nonce, "used") for nonce in range(4)]
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        await known.assert_database_equals_chain()

    async def test_a_payment_overtaken_by_a_forgotten_one(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """The forgotten one was in nobody's pool when its nonce was given to another payment, and lands."""
        other = await known.wallet()
        await known.flag(thirsty_evm)
        await known.flag(other, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        await known.network.node.call("anvil_dropAllTransactions")
        await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await rounds(known, evm_desk, 4)
        assert (await states(known))[1] == ["final", "expired", "final"]
        assert await known.nonces() == [(0, "used"), (1, "used")]
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty_evm.address, other.address]
        await known.assert_database_equals_chain()


class TestPool:
    async def test_what_only_a_pool_holds_is_waited_for(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        assert await evm_desk.settlement.round() == 1, "a block at a time, as for what is out"
        reasons_again = await again(known, evm_desk)
        assert all(isinstance(outcome, Defer) for outcome in reasons_again)
        await rounds(known, evm_desk)
        assert await unreconciled(known) == []
        await again(known, evm_desk)
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty_evm.address]
        await known.assert_database_equals_chain()

    async def test_what_a_pool_shows_now_and_then(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Whoever pays meets it, and the confirmation worker does not: no payment goes beside it at once."""
        txid = await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await known.network.node.call("anvil_dropTransaction", txid)
        await evm_desk.settlement.round()
        assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk))
        await evm_desk.pass_blocks(8)
        assert await unreconciled(known) == []
        assert await again(known, evm_desk) == [Parked()]

    async def test_what_only_the_payers_node_shows_again_and_again(
        self, known: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """The two processes have different nodes: the sender is reconciled, and reported again, without end, and
        somebody hears of it."""
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def one_more(sender: str) -> SenderNonces:
            counted = await real(sender)
            return replace(counted, pending=counted.pending + 1)

        evm_desk.real_provider.sender_nonces = one_more  # type: ignore[attr-defined]
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        alarms = []
        for _ in range(3):
            for _ in range(8):
                await rounds(known, other_evm_desk, 1)
                alarms.append(await other_evm_desk.settlement.tidy())
            assert await unreconciled(known) == []
            assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk))
        assert not any(alarms[:8]), "once is nothing"
        assert any(known.gas_address in alarm and "again" in alarm for told in alarms[8:] for alarm in told)
        evm_desk.real_provider.sender_nonces = real  # type: ignore[attr-defined]
        await rounds(known, other_evm_desk, 8)
        assert await other_evm_desk.settlement.tidy() == []
        assert await again(known, evm_desk) == [Parked()]

    async def test_what_never_lands_is_filled_first(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """No block takes it, and it would land some day beside the payment that is made now."""
        txid = await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await starve(known, evm_desk, txid, 5)
        assert await known.nonces() == [(0, "used"), (1, "void")]
        assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk)), "not beside it"
        await known.network.node.call("anvil_dropAllTransactions")
        assert await evm_desk.replacements().round() == 1
        await rounds(known, evm_desk)
        assert await unreconciled(known) == []
        assert [one.amount for one in await known.gaps()] == [1]
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert await known.nonces() == [(0, "used"), (1, "used"), (2, "used")]
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty_evm.address]
        await known.assert_database_equals_chain()

    async def test_the_one_that_was_filled_lands_after_all(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """It, and not the gap, which offers less: it is recorded, and the gap is proved dead."""
        txid = await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await starve(known, evm_desk, txid, 5)
        assert await evm_desk.replacements().round() == 1
        assert await known.nonces() == [(0, "used"), (1, "reserved")]
        await rounds(known, evm_desk, 4)
        assert await unreconciled(known) == []
        assert await known.nonces() == [(0, "used"), (1, "used")]
        assert [row["state"] for row in await known.transfers() if row["kind"] == "gap"] == ["rejected"]
        (outcome,) = await again(known, evm_desk)
        assert isinstance(outcome, Done)
        assert await known.gaps() == []
        await known.assert_database_equals_chain()

    async def test_a_node_that_has_nonces_filled_without_end(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its pool holds ever more that nobody knows, and each costs coins: so many a day and no more."""
        monkeypatch.setattr(reconciliation, "_WIDEST_GAP", 5)
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def three_more(sender: str) -> SenderNonces:
            counted = await real(sender)
            return replace(counted, pending=counted.pending + 3)

        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", three_more)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        for _ in range(4):
            await rounds(known, evm_desk, 4)
            await evm_desk.replacements().round()
        assert len(await known.gaps()) == 3
        (alarm,) = await evm_desk.settlement.tidy()
        assert "more than 5" in alarm
        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", real)
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]

    async def test_more_than_can_be_filled_is_for_people(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def nonsense(sender: str) -> SenderNonces:
            return replace(await real(sender), pending=5000)

        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", nonsense)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk, 4)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "more than 100" in alarm
        assert await known.nonces() == [(0, "used")]
        monkeypatch.undo()
        await rounds(known, evm_desk)
        assert await evm_desk.settlement.tidy() == []
        assert await again(known, evm_desk) == [Parked()]


class TestRefusedSignatures:
    async def test_the_next_payment_waits_until_their_nonce_is_settled(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """A signer called them never signed, and did not know it for certain; later payments waited for their nonce."""
        await known.flag(thirsty_evm, gas=True)
        await evm_desk.run(GAS)
        await known.network.node.call("anvil_dropAllTransactions")
        await known.connection.execute(
            "SET session_replication_role = replica;"
            "DELETE FROM chain_transactions WHERE state = 'broadcasting';"
            "UPDATE signing_requests SET state = 'refused', refusal = 'never signed' WHERE nonce = 1;"
            "UPDATE transfers SET state = 'rejected', settled_at = now() WHERE state = 'broadcasting';"
            "UPDATE nonces SET state = 'void', bundle_id = NULL WHERE nonce = 1;"
            "UPDATE job_logs SET status = 'retrying', queued = true, awaiting_chain = false, run_at = now()"
            " WHERE status = 'active';"
            "SET session_replication_role = origin"
        )
        (reason,) = reasons(await evm_desk.run(GAS))
        assert "was refused, and its nonce 1 of" in reason
        assert await evm_desk.replacements().round() == 1
        assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk)), "the gap is not final"
        await evm_desk.settle()
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty_evm.address]
        await known.assert_database_equals_chain()

    async def test_bytes_that_were_given_up_land(self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        """Before the gap: nothing is paid beside them, and they are recorded as the payment that they are."""
        await known.flag(thirsty_evm, gas=True)
        await evm_desk.run(GAS)
        await known.connection.execute(
            "SET session_replication_role = replica;"
            "DELETE FROM chain_transactions WHERE state = 'broadcasting';"
            "UPDATE signing_requests SET state = 'refused', refusal = 'never signed' WHERE nonce = 1;"
            "UPDATE transfers SET state = 'rejected', settled_at = now() WHERE state = 'broadcasting';"
            "UPDATE nonces SET state = 'void', bundle_id = NULL WHERE nonce = 1;"
            "UPDATE job_logs SET status = 'failed', awaiting_chain = false, completed_at = now() "
            "WHERE status = 'active'; SET session_replication_role = origin"
        )
        await known.network.finalize()
        assert await evm_desk.replacements().round() == 0
        await rounds(known, evm_desk)
        assert len(await known.paid_gas()) == 2
        await known.assert_database_equals_chain()


def test_kinds_that_can_be_adopted_have_a_job() -> None:
    from pipeline.payments.reconcile.recording import _JOB_TYPES

    assert set(_JOB_TYPES) == set(Kind) - {Kind.GAP}
