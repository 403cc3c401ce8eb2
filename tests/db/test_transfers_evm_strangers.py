"""Transactions of our own senders that the books do not know, over anvil: of a database that lost its last commits, or
of somebody else who has the key. Nothing is paid beside them, nothing is guessed, and what was ours comes back."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.chains.evm.provider import SenderNonces
from pipeline.chains.provider import Asset, Finality, Payment
from pipeline.queue.jobs import Defer, Done, Job, JobType, Outcome, Parked
from pipeline.transfers import strangers
from pipeline.transfers.intents import Kind
from pipeline.transfers.strangers_store import StrangerStore
from tests.chains.evm.proxy import SEND
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.db.sessions import second_session, until_one_waits
from tests.db.test_transfers_races import states
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


@pytest.fixture
async def thirsty(evm: EvmWorld) -> Wallet:
    """A wallet with tokens and no coin, flagged for gas."""
    wallet = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True, consolidation=True)
    return wallet


@pytest.fixture
async def known(evm: EvmWorld, evm_desk: EvmDesk) -> EvmWorld:
    """The gas wallet has paid before, nonce 0, and the books know it."""
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    await evm_desk.settle()
    assert await evm.nonces() == [(0, "used")]
    return evm


def reasons(outcomes: Sequence[tuple[Job, Outcome]]) -> list[str]:
    """Of jobs that all wait."""
    assert all(isinstance(outcome, Defer) for _, outcome in outcomes), outcomes
    return [outcome.reason for _, outcome in outcomes if isinstance(outcome, Defer)]


async def again(evm: EvmWorld, desk: EvmDesk, job_type: JobType = GAS) -> list[Outcome]:
    """What waits is due."""
    await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")
    return [outcome for _, outcome in await desk.run(job_type)]


async def rounds(evm: EvmWorld, desk: EvmDesk, count: int = 3) -> None:
    for _ in range(count):
        await evm.network.finalize()
        await desk.settlement.round()


async def in_doubt(evm: EvmWorld) -> list[str]:
    rows = await evm.rows("SELECT sender FROM senders WHERE unknown_below IS NOT NULL")
    return [row["sender"] for row in rows]


class TestLostCommits:
    @pytest.mark.parametrize("where", ["pool", "block", "final"])
    async def test_a_top_up_that_the_database_forgot(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet, where: str
    ) -> None:
        """Wherever it is when the other database takes over: one payment, and the books know it in the end."""
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
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty.address]
        if where != "pool":
            # Nobody paid and so nobody looked: what the wallet holds says that there is nothing to do.
            assert (await states(evm))[0] == ["completed"]
            await evm.flag(await evm.wallet(), gas=True)
            reasons(await restarted.run(GAS))
            await rounds(evm, restarted, 2)
        assert await evm.nonces() == [(0, "used")]
        await evm.assert_books_equal_chain()
        await restarted.close()

    async def test_the_forgotten_and_another_wallets_payment(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        """The sender pays somebody else first: not before it is known what the forgotten one did."""
        await evm_desk.run(GAS)
        await evm.lose_commits()
        other = await evm.wallet()
        await evm.flag(thirsty)
        await evm.connection.execute("UPDATE job_logs SET status = 'cancelled', completed_at = now()")
        await evm.flag(other, gas=True)
        (reason,) = reasons(await evm_desk.run(GAS))
        assert "transactions that the books do not know" in reason
        await rounds(evm, evm_desk)
        assert await again(evm, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty.address, other.address]
        found = await evm.row(
            "SELECT t.kind, t.state, t.wallet_id, j.status, j.data FROM transfers t JOIN job_logs j ON j.id = t.job_id "
            "WHERE t.found_on_chain"
        )
        assert (found["kind"], found["state"], found["status"]) == ("gas", "final", "completed")
        assert found["wallet_id"] == thirsty.id
        assert found["data"]["outcome"] == "found on the chain"
        assert (await evm.row("SELECT sum(amount) AS all FROM gas_spending"))["all"] == 2 * FINNEY, "it is budgeted"
        await evm.assert_books_equal_chain()

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
        await evm.assert_books_equal_chain()

    async def test_many_of_a_backup_of_yesterday(
        self, known: EvmWorld, evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The search goes on over several rounds, and waits for the last of them."""
        monkeypatch.setattr(strangers, "_BLOCKS_A_ROUND", 16)
        wallets = [await known.wallet() for _ in range(3)]
        for nonce, wallet in enumerate(wallets, start=1):
            await known.unbooked(nonce, wallet.address, FINNEY)
            await known.network.mine(30)
        await known.flag(wallets[0], gas=True)
        await known.network.finalize()
        assert await again(known, evm_desk) == [
            Done({"outcome": "skipped", "reason": "holds 0.001 BNB, not below 0.0002 BNB"}, clear_flag=True)
        ]
        thirsty = await known.wallet()
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        searched = 0
        while await in_doubt(known):
            await evm_desk.settlement.round()
            searched += 1
            assert searched < 20
        assert searched > 4, "one round would have read too many blocks"
        assert await known.nonces() == [(nonce, "used") for nonce in range(4)]
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        await known.assert_books_equal_chain()

    async def test_a_payment_overtaken_by_a_forgotten_one(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        """The forgotten one was in nobody's pool when its nonce was given to another payment, and lands."""
        other = await known.wallet()
        await known.flag(thirsty)
        await known.flag(other, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        await known.network.node.call("anvil_dropAllTransactions")
        await known.unbooked(1, thirsty.address, FINNEY)
        await rounds(known, evm_desk, 4)
        assert (await states(known))[1] == ["final", "expired", "final"]
        assert await known.nonces() == [(0, "used"), (1, "used")]
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty.address, other.address]
        await known.assert_books_equal_chain()


class TestPool:
    async def test_what_only_a_pool_holds_is_waited_for(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        await known.unbooked(1, thirsty.address, FINNEY)
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        assert await evm_desk.settlement.round() == 1, "a block at a time, as for what is out"
        reasons_again = await again(known, evm_desk)
        assert all(isinstance(outcome, Defer) for outcome in reasons_again)
        await rounds(known, evm_desk)
        assert await in_doubt(known) == []
        await again(known, evm_desk)
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty.address]
        await known.assert_books_equal_chain()

    async def test_what_a_pool_shows_now_and_then(self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet) -> None:
        """Whoever pays meets it, and the confirmation worker does not: no payment goes beside it at once."""
        txid = await known.unbooked(1, thirsty.address, FINNEY)
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        await known.network.node.call("anvil_dropTransaction", txid)
        await evm_desk.settlement.round()
        assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk))
        await evm_desk.pass_blocks(8)
        assert await in_doubt(known) == []
        assert await again(known, evm_desk) == [Parked()]

    async def test_what_only_the_payers_node_shows_again_and_again(
        self, known: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        """The two processes have different nodes: the doubt is settled and comes back without end, and somebody hears
        of it."""
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def one_more(sender: str) -> SenderNonces:
            counted = await real(sender)
            return replace(counted, pending=counted.pending + 1)

        evm_desk.real_provider.sender_nonces = one_more  # type: ignore[attr-defined]
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        alarms = []
        for _ in range(3):
            for _ in range(8):
                await rounds(known, other_evm_desk, 1)
                alarms.append(await other_evm_desk.settlement.tidy())
            assert await in_doubt(known) == []
            assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk))
        assert not any(alarms[:8]), "once is nothing"
        assert any(known.gas_address in alarm and "again" in alarm for told in alarms[8:] for alarm in told)
        evm_desk.real_provider.sender_nonces = real  # type: ignore[attr-defined]
        await rounds(known, other_evm_desk, 8)
        assert await other_evm_desk.settlement.tidy() == []
        assert await again(known, evm_desk) == [Parked()]

    async def test_what_never_lands_is_filled_first(self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet) -> None:
        """No block takes it, and it would land some day beside the payment that is made now."""
        txid = await known.unbooked(1, thirsty.address, FINNEY)
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        await self.starve(known, evm_desk, txid, 5)
        assert await known.nonces() == [(0, "used"), (1, "void")]
        assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk)), "not beside it"
        await known.network.node.call("anvil_dropAllTransactions")
        assert await evm_desk.upkeep().round() == 1
        await rounds(known, evm_desk)
        assert await in_doubt(known) == []
        assert [one.amount for one in await known.gaps()] == [1]
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert await known.nonces() == [(0, "used"), (1, "used"), (2, "used")]
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty.address]
        await known.assert_books_equal_chain()

    async def test_the_one_that_was_filled_lands_after_all(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        """It, and not the gap, which offers less: it is taken into the books, and the gap is proved dead."""
        txid = await known.unbooked(1, thirsty.address, FINNEY)
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        await self.starve(known, evm_desk, txid, 5)
        assert await evm_desk.upkeep().round() == 1
        assert await known.nonces() == [(0, "used"), (1, "reserved")]
        await rounds(known, evm_desk, 4)
        assert await in_doubt(known) == []
        assert await known.nonces() == [(0, "used"), (1, "used")]
        assert [row["state"] for row in await known.transfers() if row["kind"] == "gap"] == ["rejected"]
        (outcome,) = await again(known, evm_desk)
        assert isinstance(outcome, Done)
        assert await known.gaps() == []
        await known.assert_books_equal_chain()

    @staticmethod
    async def starve(evm: EvmWorld, desk: EvmDesk, txid: str, blocks: int) -> None:
        """Blocks that do not take a transaction, which stays in the pool."""
        node = evm.network.node
        raw = await node.call("eth_getRawTransactionByHash", txid)
        for _ in range(blocks):
            await node.call("anvil_dropTransaction", txid)
            await node.mine()
            await node.call(SEND, raw)
            await desk.settlement.round()

    async def test_a_node_that_has_nonces_filled_without_end(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its pool holds ever more that nobody knows, and each costs coins: so many a day and no more."""
        monkeypatch.setattr(strangers, "_WIDEST_GAP", 5)
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def three_more(sender: str) -> SenderNonces:
            counted = await real(sender)
            return replace(counted, pending=counted.pending + 3)

        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", three_more)
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        for _ in range(4):
            await rounds(known, evm_desk, 4)
            await evm_desk.upkeep().round()
        assert len(await known.gaps()) == 3
        (alarm,) = await evm_desk.settlement.tidy()
        assert "more than 5" in alarm
        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", real)
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]

    async def test_more_than_can_be_filled_is_for_people(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def nonsense(sender: str) -> SenderNonces:
            return replace(await real(sender), pending=5000)

        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", nonsense)
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk, 4)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "more than 100" in alarm
        assert await known.nonces() == [(0, "used")]
        monkeypatch.undo()
        await rounds(known, evm_desk)
        assert await evm_desk.settlement.tidy() == []
        assert await again(known, evm_desk) == [Parked()]


class TestStrangers:
    @pytest.mark.parametrize("what", ["the coin", "a token", "nothing"])
    async def test_what_is_no_payment_of_ours_holds_the_sender(
        self, evm: EvmWorld, evm_desk: EvmDesk, what: str
    ) -> None:
        """Somebody has the key of a customer's wallet. Nobody else's waits."""
        wallet, other = await evm.wallet(usdt=500 * USDT, trx=2 * FINNEY), await evm.wallet(usdt=250 * USDT, trx=FINNEY)
        await evm.network.finalize()
        thief = evm.network.node.accounts[3]
        thief = evm_desk.real_provider.validate_address(thief)
        index = wallet.derivation_index
        if what == "the coin":
            txid = await evm.unbooked(0, thief, 7, index=index)
        elif what == "a token":
            txid = await evm.unbooked(0, thief, 7 * USDT, index=index, contract=evm.token)
        else:
            txid = await evm.unbooked(0, evm.treasury, 10**30, index=index, contract=evm.token)
        await evm.network.finalize()
        for each in (wallet, other):
            await evm.flag(each, consolidation=True)
        outcomes = {job.wallet_id: outcome for job, outcome in await evm_desk.run(CONSOLIDATION)}
        assert outcomes[other.id] == Parked()
        assert isinstance(outcomes[wallet.id], Defer)
        await rounds(evm, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm
        assert f"SELECT release_sender('bsc', '{wallet.address}')" in alarm
        (held,) = await again(evm, evm_desk, CONSOLIDATION)
        assert isinstance(held, Defer)
        assert "is held since" in held.reason
        assert await in_doubt(evm) == []
        evm.outsiders.add(txid)
        assert [one.sender for one in await evm.swept()] == [other.address]

        await evm.connection.execute("SELECT release_sender('bsc', %s)", [wallet.address])
        assert await evm_desk.settlement.tidy() == []
        assert await again(evm, evm_desk, CONSOLIDATION) == [Parked()]
        await evm_desk.settle()
        left = 500 * USDT - (7 * USDT if what == "a token" else 0)
        assert [one.amount for one in await evm.swept() if one.sender == wallet.address] == [left]
        await evm.assert_books_equal_chain()

    @pytest.mark.parametrize("overtakes", [False, True])
    async def test_a_transfer_of_nothing_to_the_treasury_is_no_payment_of_ours(
        self, evm: EvmWorld, evm_desk: EvmDesk, overtakes: bool
    ) -> None:
        """It has the form of a consolidation, and the books have no payment of nothing: held, not in the way of all."""
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
        assert any("is held" in alarm and txid in alarm for alarm in await evm_desk.settlement.tidy())
        assert [one.sender for one in await evm.swept() if one.amount] == [other.address]

    async def test_gas_to_somebody_who_is_no_customer(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        txid = await known.unbooked(1, known.treasury, FINNEY)
        await known.network.finalize()
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        row = await known.row("SELECT held FROM senders WHERE held IS NOT NULL")
        assert txid in row["held"]
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        assert (await known.row("SELECT used_by FROM nonces WHERE nonce = 1")) == {"used_by": txid}

    async def test_a_void_nonce_that_a_stranger_used(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        await known.connection.execute("SELECT void_nonces(%s, %s, 1)", [known.chain_id, known.gas_address])
        txid = await known.unbooked(1, known.treasury, 7)
        await known.network.finalize()
        assert await evm_desk.upkeep().round() == 0
        assert await in_doubt(known) == [known.gas_address]
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm

    async def test_one_that_was_forked_away(self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet) -> None:
        """It counted, was in no final block, and is gone: nothing is left out."""
        await known.unbooked(1, known.treasury, 7)
        await known.network.mine()
        await known.flag(thirsty, gas=True)
        reasons(await evm_desk.run(GAS))
        await evm_desk.settlement.round()
        assert await in_doubt(known) == [known.gas_address], "not final: nobody knows"
        await known.network.fork_out(1, forget=True)
        await known.network.node.call("anvil_dropAllTransactions")
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert await known.nonces() == [(0, "used"), (1, "used")]
        await known.assert_books_equal_chain()


class TestTwoConfirmationWorkers:
    async def test_both_take_it_in(self, known: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk) -> None:
        """One of them has lost its leadership and does not know."""
        wallet = await known.wallet()
        txid = await known.unbooked(1, wallet.address, FINNEY)
        stranger = await known.unbooked(2, known.treasury, 7)
        await known.network.finalize()
        await evm_desk.settlement.round()
        final = await evm_desk.real_provider.block_ref(Finality.FINAL)
        for each in (txid, stranger):
            result = await evm_desk.real_provider.find(each, Finality.FINAL)
            assert result is not None
            stores = [StrangerStore(desk.confirming) for desk in (evm_desk, other_evm_desk)]
            await asyncio.gather(*(store.account_for(known.chain_id, result, final) for store in stores))
        assert await known.nonces() == [(0, "used"), (1, "used"), (2, "lost")]
        assert len(await known.rows("SELECT FROM transfers WHERE found_on_chain")) == 1
        row = await known.row("SELECT held FROM senders WHERE sender = %s", known.gas_address)
        assert row["held"].count(stranger) == 1

    async def test_it_is_taken_in_while_gas_is_asked_for(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet, database: str
    ) -> None:
        """Who asks counts budgets under the lock that gives up what was asked for before, too: no deadlock."""
        await known.flag(thirsty, gas=True)
        (job,) = await evm_desk.queue.enqueue_and_claim(GAS, 10)
        asked = Payment(known.gas_address, thirsty.address, Asset("BNB", 18), FINNEY)
        await evm_desk.store.request(job, Kind.GAS, known.native_id, asked)
        txid = await known.unbooked(1, thirsty.address, FINNEY)
        await known.network.finalize()
        await evm_desk.settlement.round()
        final = await evm_desk.real_provider.block_ref(Finality.FINAL)
        result = await evm_desk.real_provider.find(txid, Finality.FINAL)
        assert result is not None
        async with second_session(database) as asking:
            async with asking.transaction():
                await asking.execute("SELECT lock_gas(%s)", [known.chain_id])
                taken = asyncio.create_task(
                    StrangerStore(evm_desk.confirming).account_for(known.chain_id, result, final)
                )
                await until_one_waits(known.connection)
                await asking.execute("SELECT count_gas(%s, now(), 1)", [known.chain_id])
            accounted = await taken
        assert accounted.transfer_id is not None
        assert (await states(known))[1] == ["final", "rejected", "final"]


class TestAudit:
    async def test_the_gas_wallet_is_seen_though_nobody_pays(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        txid = await known.unbooked(1, known.treasury, 7)
        assert await evm_desk.settlement.tidy() == []
        assert await in_doubt(known) == [known.gas_address]
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm

    async def test_all_others_by_turns(self, evm: EvmWorld, evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(strangers, "_AUDITED_AT_ONCE", 2)
        wallets = [await evm.wallet(usdt=250 * USDT, trx=2 * FINNEY) for _ in range(5)]
        await evm.network.finalize()
        await evm.connection.execute("UPDATE wallets SET needs_consolidation = true")
        await evm_desk.run(CONSOLIDATION)
        await evm_desk.settle()
        for wallet in wallets:
            await evm.unbooked(1, evm.treasury, 7, index=wallet.derivation_index)
        seen = []
        for _ in range(4):
            await evm_desk.settlement.tidy()
            seen.append(len(await in_doubt(evm)))
        assert seen == [2, 4, 5, 5]

    async def test_what_is_just_being_paid_is_no_stranger(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        await known.connection.execute("UPDATE wallets SET needs_gas = false")
        await known.flag(await known.wallet(), gas=True)
        read = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def paid_meanwhile(counted: SenderNonces) -> SenderNonces:
            assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
            return await read(known.gas_address)

        evm_desk.provider.after("sender_nonces", paid_meanwhile)
        await evm_desk.settlement.tidy()
        assert await in_doubt(known) == []


class TestSearch:
    async def test_a_count_that_jumps_signs_nothing(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def wrong(sender: str) -> SenderNonces:
            return replace(await real(sender), latest=1_000_000, pending=1_000_000)

        await known.flag(thirsty, gas=True)
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
        thirsty: Wallet,
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

        await known.flag(thirsty, gas=True)
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
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await known.unbooked(1, thirsty.address, FINNEY)
        await known.network.mine()
        missing = await known.network.node.height()
        await known.network.finalize()
        await known.flag(thirsty)
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
        assert await in_doubt(known) == [known.gas_address]
        monkeypatch.undo()
        await rounds(known, evm_desk)
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        await known.assert_books_equal_chain()

    async def test_what_is_older_than_our_books_is_not_ours_to_explain(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
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
        """Books that were begun anew: what it paid a moment ago is theirs."""
        wallet, other = await evm.wallet(), await evm.wallet()
        await evm.unbooked(0, wallet.address, FINNEY)
        await evm.network.finalize()
        await evm.flag(other, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(evm, evm_desk)
        assert await evm.nonces() == [(0, "used")]
        assert await again(evm, evm_desk) == [Parked()]
        await evm_desk.settle()
        await evm.assert_books_equal_chain()

    async def test_two_payers_doubt_at_once(self, known: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk) -> None:
        wallets = [await known.wallet() for _ in range(4)]
        await known.unbooked(1, wallets[0].address, FINNEY)
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
        await known.assert_books_equal_chain()


class TestGivenUpBytes:
    async def test_the_next_payment_waits_until_their_nonce_is_settled(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet
    ) -> None:
        """As an older version left them: called rejected, and signed for ever."""
        await known.flag(thirsty, gas=True)
        await evm_desk.run(GAS)
        await known.network.node.call("anvil_dropAllTransactions")
        await known.connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE chain_transactions SET state = 'rejected' WHERE state = 'broadcasting';"
            "UPDATE transfers SET state = 'rejected', settled_at = now() WHERE state = 'broadcasting';"
            "UPDATE nonces SET state = 'void' WHERE nonce = 1;"
            "UPDATE job_logs SET status = 'retrying', awaiting_chain = false, run_at = now() WHERE status = 'active';"
            "SET session_replication_role = origin"
        )
        (reason,) = reasons(await evm_desk.run(GAS))
        assert "were given up and may still land: nonce 1 of" in reason
        assert await evm_desk.upkeep().round() == 1
        assert all(isinstance(outcome, Defer) for outcome in await again(known, evm_desk)), "the gap is not final"
        await evm_desk.settle()
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty.address]
        await known.assert_books_equal_chain()

    async def test_bytes_that_were_given_up_land(self, known: EvmWorld, evm_desk: EvmDesk, thirsty: Wallet) -> None:
        """Before the gap: nothing is paid beside them, and a person hears of it."""
        await known.flag(thirsty, gas=True)
        await evm_desk.run(GAS)
        await known.connection.execute(
            "SET session_replication_role = replica;"
            "UPDATE chain_transactions SET state = 'rejected' WHERE state = 'broadcasting';"
            "UPDATE transfers SET state = 'rejected', settled_at = now() WHERE state = 'broadcasting';"
            "UPDATE nonces SET state = 'void' WHERE nonce = 1;"
            "UPDATE job_logs SET status = 'failed', awaiting_chain = false, completed_at = now() "
            "WHERE status = 'active'; SET session_replication_role = origin"
        )
        await known.network.finalize()
        assert await evm_desk.upkeep().round() == 0
        await rounds(known, evm_desk)
        assert any("is held" in alarm for alarm in await evm_desk.settlement.tidy())
        assert len(await known.paid_gas()) == 2


def test_kinds_that_can_be_adopted_have_a_job() -> None:
    from pipeline.transfers.booking import _JOB_TYPES

    assert set(_JOB_TYPES) == set(Kind) - {Kind.GAP}
