"""Somebody else acts with the key of one of our senders, over anvil: it is searched for, told, and frozen."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pipeline.chains.evm.provider import SenderNonces
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Finality
from pipeline.db.statements import statement
from pipeline.payments.reconcile import reconciliation
from pipeline.payments.reconcile.nonce_uses import NonceUse
from pipeline.payments.reconcile.store import ReconciliationStore
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.db.paying_kit import states
from tests.db.reconcile_kit import again, reasons, rounds, unreconciled
from tests.db.sessions import second_session, until_one_waits
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


class TestOutsiders:
    @pytest.mark.parametrize("what", ["the coin", "a token", "nothing"])
    async def test_what_is_no_payment_of_ours_holds_the_sender(
        self, evm: EvmWorld, evm_desk: EvmDesk, what: str
    ) -> None:
        """Somebody has the key of a customer's wallet. Nobody else's waits."""
        wallet, other = await evm.wallet(usdt=500 * USDT, trx=2 * FINNEY), await evm.wallet(usdt=250 * USDT, trx=FINNEY)
        await evm.network.finalize()
        thief = evm.network.node.accounts[3]
        thief = evm_desk.real_provider.codec.validate_address(thief)
        index = wallet.derivation_index
        if what == "the coin":
            txid = await evm.send_unrecorded(0, thief, 7, index=index)
        elif what == "a token":
            txid = await evm.send_unrecorded(0, thief, 7 * USDT, index=index, contract=evm.token)
        else:
            txid = await evm.send_unrecorded(0, evm.treasury, 10**30, index=index, contract=evm.token)
        await evm.network.finalize()
        for each in (wallet, other):
            await evm.flag(each, consolidation=True)
        outcomes = {job.wallet_id: outcome for job, outcome in await evm_desk.run(CONSOLIDATION)}
        assert outcomes[other.id] == Parked()
        assert isinstance(outcomes[wallet.id], Defer)
        await rounds(evm, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm
        assert f"flagpost senders release bsc {wallet.address}" in alarm
        (held,) = await again(evm, evm_desk, CONSOLIDATION)
        assert isinstance(held, Defer)
        assert "has been frozen since" in held.reason
        assert await unreconciled(evm) == []
        evm.outsiders.add(txid)
        assert [one.sender for one in await evm.swept()] == [other.address]

        await evm.connection.execute("SELECT release_sender('bsc', %s)", [wallet.address])
        assert await evm_desk.settlement.tidy() == []
        assert await again(evm, evm_desk, CONSOLIDATION) == [Parked()]
        await evm_desk.settle()
        left = 500 * USDT - (7 * USDT if what == "a token" else 0)
        assert [one.amount for one in await evm.swept() if one.sender == wallet.address] == [left]
        await evm.assert_database_equals_chain()

    @pytest.mark.parametrize("overtakes", [False, True])
    async def test_a_transfer_of_nothing_to_the_treasury_is_no_payment_of_ours(
        self, evm: EvmWorld, evm_desk: EvmDesk, overtakes: bool
    ) -> None:
        """It has the form of a consolidation, of nothing, which is never recorded: frozen, not in the way of all."""
        wallet, other = [await evm.wallet(usdt=250 * USDT, trx=10 * FINNEY) for _ in range(2)]
        await evm.network.finalize()
        await evm.flag(other, consolidation=True)
        await evm_desk.run(CONSOLIDATION)
        await evm_desk.settle()
        await evm.flag(wallet, consolidation=True)
        node = evm.network.node
        if overtakes:
            assert [outcome for _, outcome in await evm_desk.run(CONSOLIDATION)] == [Parked()]
            await node.call("anvil_dropAllTransactions")
        await node.call("anvil_impersonateAccount", wallet.address)
        nothing = "0xa9059cbb" + evm.treasury.removeprefix("0x").lower().rjust(64, "0") + "0" * 64
        txid = await node.send(wallet.address, evm.token, data=nothing)
        await evm.network.finalize()
        if not overtakes:
            reasons(await evm_desk.run(CONSOLIDATION))
        await rounds(evm, evm_desk, 4)
        assert (await evm.row("SELECT used_by FROM nonces WHERE sender = %s", wallet.address))["used_by"] == txid
        assert any("is frozen" in alarm and txid in alarm for alarm in await evm_desk.settlement.tidy())
        assert [one.sender for one in await evm.swept() if one.amount] == [other.address]

    async def test_gas_to_somebody_who_is_no_customer(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        txid = await known.send_unrecorded(1, known.treasury, FINNEY)
        await known.network.finalize()
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        row = await known.row("SELECT frozen FROM senders WHERE frozen IS NOT NULL")
        assert txid in row["frozen"]
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        assert (await known.row("SELECT used_by FROM nonces WHERE nonce = 1")) == {"used_by": txid}

    async def test_a_void_nonce_that_an_outsider_used(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        await known.connection.execute("SELECT void_nonces(%s, %s, 1)", [known.chain_id, known.gas_address])
        txid = await known.send_unrecorded(1, known.treasury, 7)
        await known.network.finalize()
        assert await evm_desk.replacements().round() == 0
        assert await unreconciled(known) == [known.gas_address]
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm

    async def test_one_that_was_forked_away(self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        """It counted, was in no final block, and is gone: nothing is left out."""
        await known.send_unrecorded(1, known.treasury, 7)
        await known.network.mine()
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await evm_desk.settlement.round()
        assert await unreconciled(known) == [known.gas_address], "not final: nobody knows"
        await known.network.fork_out(1, forget=True)
        await known.network.node.call("anvil_dropAllTransactions")
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert await known.nonces() == [(0, "used"), (1, "used")]
        await known.assert_database_equals_chain()


class TestTwoConfirmationWorkers:
    async def test_both_take_it_in(self, known: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk) -> None:
        """One of them has lost its leadership and does not know."""
        wallet = await known.wallet()
        txid = await known.send_unrecorded(1, wallet.address, FINNEY)
        outsider = await known.send_unrecorded(2, known.treasury, 7)
        await known.network.finalize()
        await evm_desk.settlement.round()
        final = await evm_desk.real_provider.block_ref(Finality.FINAL)
        for each in (txid, outsider):
            result = await evm_desk.real_provider.find(each, Finality.FINAL)
            assert result is not None
            use = NonceUse(known.gas_address, result.nonce or 0, result)
            stores = [ReconciliationStore(desk.confirming) for desk in (evm_desk, other_evm_desk)]
            await asyncio.gather(*(store.record(known.chain_id, use, final) for store in stores))
        assert await known.nonces() == [(0, "used"), (1, "used"), (2, "lost")]
        assert len(await known.rows("SELECT FROM transfers WHERE found_on_chain")) == 1
        row = await known.row("SELECT frozen FROM senders WHERE sender = %s", known.gas_address)
        assert row["frozen"].count(outsider) == 1

    async def test_it_is_taken_in_while_gas_is_asked_for(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, database: str
    ) -> None:
        """Who asks counts budgets under the lock that gives up what was asked for before, too: no deadlock."""
        await known.flag(thirsty_evm, gas=True)
        (job,) = await evm_desk.queue.enqueue_and_claim(GAS, 10)
        # As the signer refused it for now: nobody is asked to sign it.
        intent = {"asset_ids": [known.native_id], "amounts": [FINNEY], "fees": [1], "kinds": [Kind.GAS]}
        parties = {"senders": [known.gas_address], "receivers": [thirsty_evm.address]}
        await known.connection.execute(statement("payments/send/request"), {"job_uuids": [job.id], **intent, **parties})
        txid = await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.network.finalize()
        await evm_desk.settlement.round()
        final = await evm_desk.real_provider.block_ref(Finality.FINAL)
        result = await evm_desk.real_provider.find(txid, Finality.FINAL)
        assert result is not None
        async with second_session(database) as asking:
            async with asking.transaction():
                await asking.execute("SELECT lock_gas(%s)", [known.chain_id])
                use = NonceUse(known.gas_address, 1, result)
                taken = asyncio.create_task(ReconciliationStore(evm_desk.confirming).record(known.chain_id, use, final))
                await until_one_waits(known.connection)
                await asking.execute("UPDATE gas_spending SET topups = topups WHERE chain_id = %s", [known.chain_id])
            accounted = await taken
        assert accounted.transfer_id is not None
        assert (await states(known))[1] == ["final", "rejected", "final"]


class TestAudit:
    async def test_the_gas_wallet_is_seen_though_nobody_pays(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        txid = await known.send_unrecorded(1, known.treasury, 7)
        assert await evm_desk.settlement.tidy() == []
        assert await unreconciled(known) == [known.gas_address]
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm

    async def test_all_others_by_turns(self, evm: EvmWorld, evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconciliation, "_AUDITED_AT_ONCE", 2)
        wallets = [await evm.wallet(usdt=250 * USDT, trx=2 * FINNEY) for _ in range(5)]
        await evm.network.finalize()
        await evm.connection.execute("UPDATE wallets SET needs_consolidation = true")
        await evm_desk.run(CONSOLIDATION)
        await evm_desk.settle()
        for wallet in wallets:
            await evm.send_unrecorded(1, evm.treasury, 7, index=wallet.derivation_index)
        seen = []
        for _ in range(4):
            await evm_desk.settlement.tidy()
            seen.append(len(await unreconciled(evm)))
        assert seen == [2, 4, 5, 5]

    async def test_what_is_just_being_paid_is_no_outsider(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        await known.connection.execute("UPDATE wallets SET needs_gas = false")
        await known.flag(await known.wallet(), gas=True)
        read = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def paid_meanwhile(counted: SenderNonces) -> SenderNonces:
            assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
            return await read(known.gas_address)

        evm_desk.provider.after("sender_nonces", paid_meanwhile)
        await evm_desk.settlement.tidy()
        assert await unreconciled(known) == []


class TestSearch:
    async def test_a_count_that_jumps_signs_nothing(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def wrong(sender: str) -> SenderNonces:
            return replace(await real(sender), latest=1_000_000, pending=1_000_000)

        await known.flag(thirsty_evm, gas=True)
        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", wrong)
        (reason,) = reasons(await evm_desk.run(GAS))
        assert "1000000" in reason
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used")]
        monkeypatch.undo()
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]
        assert await known.nonces() == [(0, "used"), (1, "reserved")]

    @pytest.mark.parametrize(
        ("count", "said"),
        [(3, "has used nonces 1 to 2"), (2**60, "too many to be true"), (5000, "has used nonces 1 to")],
    )
    async def test_a_node_that_counts_wrong_finally(
        self,
        known: EvmWorld,
        evm_desk: EvmDesk,
        thirsty_evm: Wallet,
        monkeypatch: pytest.MonkeyPatch,
        count: int,
        said: str,
    ) -> None:
        """Nothing is taken for used that no block shows."""
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def wrong(sender: str) -> SenderNonces:
            return replace(await real(sender), finalized=count, latest=count, pending=count)

        async def count_at(*_: Any) -> int:
            return count

        await known.flag(thirsty_evm, gas=True)
        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", wrong)
        monkeypatch.setattr(evm_desk.real_provider, "count_at", count_at)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert said in alarm
        assert await known.nonces() == [(0, "used")]
        monkeypatch.undo()
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]

    async def test_blocks_that_no_node_has(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.network.mine()
        missing = await known.network.node.height()
        await known.network.finalize()
        await known.flag(thirsty_evm)
        other = await known.wallet()
        await known.flag(other, gas=True)
        block = evm_desk.real_provider.block

        async def pruned(number: int, finality: Finality) -> object:
            return None if number <= missing else await block(number, finality)

        monkeypatch.setattr(evm_desk.real_provider, "block", pruned)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert f"no node gives final block {missing}" in alarm
        assert await unreconciled(known) == [known.gas_address]
        monkeypatch.undo()
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        await known.assert_database_equals_chain()

    async def test_what_is_older_than_our_records_is_not_ours_to_explain(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """The wallet was used for something else long before."""
        await evm.network.node.call("anvil_setNonce", evm.gas_address, hex(500))
        await evm.network.finalize()
        reasons(await evm_desk.run(GAS))
        for _ in range(5):
            await evm_desk.settlement.round()
        assert await again(evm, evm_desk) == [Parked()]
        assert await evm.nonces() == [(500, "reserved")]

    async def test_a_sender_used_lately_is_looked_into_first(self, evm: EvmWorld, evm_desk: EvmDesk) -> None:
        """Records that were begun anew: what it paid a moment ago is theirs."""
        wallet, other = await evm.wallet(), await evm.wallet()
        await evm.send_unrecorded(0, wallet.address, FINNEY)
        await evm.network.finalize()
        await evm.flag(other, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(evm, evm_desk)
        assert await evm.nonces() == [(0, "used")]
        assert await again(evm, evm_desk) == [Parked()]
        await evm_desk.settle()
        await evm.assert_database_equals_chain()

    async def test_two_payers_request_reconciliation_at_once(
        self, known: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk
    ) -> None:
        wallets = [await known.wallet() for _ in range(4)]
        await known.send_unrecorded(1, wallets[0].address, FINNEY)
        await known.connection.execute(
            "UPDATE wallets SET needs_gas = true WHERE id = ANY(%s)", [[w.id for w in wallets]]
        )
        mine = await evm_desk.queue.enqueue_and_claim(GAS, 2)
        theirs = await other_evm_desk.queue.enqueue_and_claim(GAS, 2)
        reasons(await evm_desk.run(GAS, mine))
        reasons(await other_evm_desk.run(GAS, theirs))
        await rounds(known, evm_desk)
        await again(known, evm_desk)
        await evm_desk.settle()
        paid = [one.receiver for one in await known.paid_gas()][1:]
        assert sorted(paid) == sorted(wallet.address for wallet in wallets)
        await known.assert_database_equals_chain()
