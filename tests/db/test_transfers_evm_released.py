"""States in which a sender stands still and nothing finds out what became of it, over anvil: each is told with what to
do, in the log and in ``senders.stuck``, and a person has a way out of each (``release_sender``)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pipeline.chains.evm.provider import SenderNonces
from pipeline.chains.values import BlockContent, BlockRef, Finality
from pipeline.db.pool import Pool
from pipeline.payments.reconcile import reconciliation
from pipeline.payments.settle.attempts import PaymentAttempts
from pipeline.queue.jobs import JobType, Parked
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.db.paying_kit import states
from tests.db.reconcile_kit import again, reasons, rounds, starve, unreconciled
from tests.db.test_transfers_evm_proof import did_more
from tests.seed import Wallet

GAS = JobType.GAS_TOPUP


async def jumped(evm: EvmWorld, nonce: int) -> None:
    """The gas wallet's nonce grows without a transaction, as that of an account does whose code creates contracts."""
    await evm.network.node.call("anvil_setNonce", evm.gas_address, hex(nonce))
    await evm.network.finalize()


async def stuck_since(evm: EvmWorld) -> str | None:
    row = await evm.row("SELECT stuck, stuck_since IS NULL AS moves FROM senders WHERE sender = %s", evm.gas_address)
    assert (row["stuck"] is None) is row["moves"]
    return row["stuck"]


async def released(evm: EvmWorld) -> str:
    return str((await evm.row("SELECT release_sender('bsc', %s) AS reason", evm.gas_address))["reason"])


async def goes_on(evm: EvmWorld, desk: EvmDesk, *receivers: str) -> None:
    """The sender pays again, everybody once, and nothing is said of it any more."""
    assert Parked() in await again(evm, desk)
    await desk.settle()
    assert [one.receiver for one in await evm.paid_gas()][-len(receivers) :] == list(receivers)
    assert await desk.settlement.tidy() == []
    assert await stuck_since(evm) is None
    await evm.assert_database_equals_chain()


def looked_for(evm: EvmWorld, duration: timedelta) -> Any:
    """Somebody noticed so long ago."""
    return evm.connection.execute(
        "UPDATE senders SET unknown_since = unknown_since - %s WHERE unknown_since IS NOT NULL", [duration]
    )


class TestUnexplained:
    async def test_a_nonce_that_no_block_explains(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await jumped(known, 3)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "has used nonces 1 to 2" in alarm
        assert f"flagpost senders release bsc {known.gas_address}" in alarm
        assert await stuck_since(known) == alarm
        assert await known.nonces() == [(0, "used")]
        assert await released(known) == alarm
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used"), (1, "lost"), (2, "lost")]
        assert await unreconciled(known) == []
        await goes_on(known, evm_desk, thirsty_evm.address)

    async def test_a_payment_whose_nonce_no_block_explains(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await known.flag(thirsty_evm, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        (txid,) = [row["txid"] for row in await known.attempts() if row["state"] == "broadcasting"]
        await known.network.node.call("anvil_dropAllTransactions")
        await jumped(known, 2)
        await rounds(known, evm_desk, 4)
        assert (await states(known))[1] == ["final", "broadcasting"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm
        assert "block explorer" in alarm
        assert await released(known) == alarm
        await rounds(known, evm_desk, 1)
        assert (await states(known))[1] == ["final", "expired"]
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        await goes_on(known, evm_desk, thirsty_evm.address)

    @pytest.mark.parametrize("is_out", [False, True])
    async def test_the_word_of_a_person_counts_for_nothing_where_a_node_denies_it(
        self,
        known: EvmWorld,
        evm_desk: EvmDesk,
        thirsty_evm: Wallet,
        monkeypatch: pytest.MonkeyPatch,
        is_out: bool,
    ) -> None:
        """One node counts too many, and a person believed it: the payment may still land by the others."""
        if is_out:
            await known.flag(thirsty_evm, gas=True)
            await evm_desk.run(GAS)
            await known.network.node.call("anvil_dropAllTransactions")
        await jumped(known, 2)
        if not is_out:
            await known.flag(thirsty_evm, gas=True)
            reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk, 4)
        await released(known)

        async def one_denies(_: str) -> dict[str, int]:
            return {"http://one": 2, "http://other": 1}

        monkeypatch.setattr(evm_desk.real_provider, "finalized_everywhere", one_denies)
        before = await known.nonces()
        await rounds(known, evm_desk, 2)
        assert await known.nonces() == before
        assert [row["state"] for row in await known.transfers()] == ["final", "broadcasting" if is_out else "requested"]
        assert any("node http://other counts 1" in alarm for alarm in await evm_desk.settlement.tidy())

    @pytest.mark.parametrize("widened", [False, True])
    async def test_a_release_speaks_of_what_it_was_about_and_of_nothing_later(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, widened: bool
    ) -> None:
        """Neither of other nonces nor, were there more of them in it, of a payment that was sent since."""
        await jumped(known, 2)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        await released(known)
        await rounds(known, evm_desk)
        if widened:
            await known.connection.execute("UPDATE senders SET released = '{[1,9)}'")
        assert await again(known, evm_desk) == [Parked()]
        await known.network.node.call("anvil_dropAllTransactions")
        await jumped(known, 3)
        await rounds(known, evm_desk, 8)
        assert (await states(known))[1] == ["final", "broadcasting"], "nobody has said anything of this one"
        await released(known)
        await rounds(known, evm_desk, 1)
        assert (await states(known))[1] == ["final", "expired"]
        await goes_on(known, evm_desk, thirsty_evm.address)

    async def test_what_a_person_vouched_for_is_looked_for_all_the_same(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """A payment that the blocks do show is taken in, whatever people say of it."""
        await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.network.mine()
        await jumped(known, 3)
        await known.flag(thirsty_evm)
        other = await known.wallet()
        await known.flag(other, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        await released(known)
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used"), (1, "used"), (2, "lost")]
        await goes_on(known, evm_desk, thirsty_evm.address, other.address)

    async def test_blocks_that_no_node_gives(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await jumped(known, 2)
        missing = await known.network.node.height() - 1
        await known.network.finalize()
        block = evm_desk.real_provider.block

        async def pruned(number: int, finality: Finality) -> BlockContent | None:
            return None if number <= missing else await block(number, finality)

        monkeypatch.setattr(evm_desk.real_provider, "block", pruned)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert f"no node gives final block {missing}" in alarm
        await released(known)
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        monkeypatch.undo()
        await goes_on(known, evm_desk, thirsty_evm.address)

    async def test_more_than_anybody_believes(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconciliation, "_MOST_MISSING", 50)
        await jumped(known, 200)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "too many to be true" in alarm
        await released(known)
        await rounds(known, evm_desk)
        rows = await known.rows("SELECT DISTINCT used_by FROM nonces WHERE state = 'lost'")
        assert rows == [{"used_by": "unexplained"}]
        await goes_on(known, evm_desk, thirsty_evm.address)

    async def test_what_did_more_is_settled_when_a_person_says_so(
        self, evm: EvmWorld, evm_desk: EvmDesk, pool: Pool, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It made the payment, and something else: nobody decides that by itself."""
        await did_more(evm, evm_desk, pool, monkeypatch)
        (alarm,) = [alarm for alarm in await evm_desk.settlement.tidy() if "did more than that" in alarm]
        assert "flagpost senders release bsc" in alarm
        await released(evm)
        await rounds(evm, evm_desk, 5)
        assert (await states(evm))[:2] == (["completed"], ["final"])
        assert await evm_desk.settlement.tidy() == []


class TestWhatWasShown:
    """An operator releases the nonces that were named, and no others."""

    async def test_several_payments_are_all_named_and_those_between_are_not_meant(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nonces 1 and 3 are used and not explained; 2 is nobody's concern."""
        for wallet in (thirsty_evm, await known.wallet(), await known.wallet()):
            await known.flag(wallet, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()] * 3
        await known.network.node.call("anvil_dropAllTransactions")
        await jumped(known, 4)
        superseded = evm_desk.settlement._strategy._superseded
        prove = superseded.prove

        async def without_the_second(read_up_to: BlockRef, head: BlockRef, past: Sequence[PaymentAttempts]) -> None:
            await prove(read_up_to, head, [one for one in past if one[0].signed.nonce != 2])

        monkeypatch.setattr(superseded, "prove", without_the_second)
        await rounds(known, evm_desk, 4)
        row = await known.row("SELECT stuck, unexplained::text FROM senders WHERE sender = %s", known.gas_address)
        assert row["unexplained"] == "{[1,2),[3,4)}"
        for attempt in (await known.attempts())[1::2]:
            assert attempt["txid"] in row["stuck"]
        await released(known)
        row = await known.row("SELECT released::text FROM senders WHERE sender = %s", known.gas_address)
        assert row["released"] == "{[1,2),[3,4)}"
        monkeypatch.undo()
        await rounds(known, evm_desk, 4)
        assert await known.nonces() == [(0, "used"), (1, "lost"), (2, "reserved"), (3, "lost")]
        await released(known)
        await rounds(known, evm_desk, 1)
        assert await known.nonces() == [(0, "used"), (1, "lost"), (2, "lost"), (3, "lost")]

    async def test_what_came_to_it_since_the_operator_checked(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await jumped(known, 2)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        (seen,) = await evm_desk.settlement.tidy()
        assert "has used nonces 1, which" in seen
        await jumped(known, 4)
        await rounds(known, evm_desk)
        await known.connection.execute("SELECT release_sender('bsc', %s, 1)", [known.gas_address])
        await rounds(known, evm_desk, 4)
        assert await known.nonces() == [(0, "used")]
        (alarm,) = await evm_desk.settlement.tidy()
        assert "has used nonces 1 to 3" in alarm
        with pytest.raises(psycopg.errors.NoDataFound, match="has no unexplained nonce up to 0"):
            await known.connection.execute("SELECT release_sender('bsc', %s, 0)", [known.gas_address])
        await released(known)
        await rounds(known, evm_desk, 4)
        assert await known.nonces() == [(0, "used"), (1, "lost"), (2, "lost"), (3, "lost")]

    async def test_a_use_that_was_noticed_later(self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        """An operator released nonces that were not used by then, whyever; they are used since, and not explained."""
        await known.connection.execute("UPDATE senders SET released = '{[1,9)}', released_at = now()")
        await jumped(known, 3)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used")]
        (alarm,) = await evm_desk.settlement.tidy()
        assert "has used nonces 1 to 2" in alarm
        await released(known)
        await rounds(known, evm_desk)
        await goes_on(known, evm_desk, thirsty_evm.address)

    async def test_a_void_nonce_and_not_the_payment_behind_it(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """The gap that was to fill it found it used, and a payment is out behind it."""
        await known.connection.execute("SELECT void_nonces(%s, %s, 1)", [known.chain_id, known.gas_address])
        await known.flag(thirsty_evm, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        assert await known.nonces() == [(0, "used"), (1, "void"), (2, "reserved")]
        for below, unverified in ((0, None), (1, None), (2, "{[1,2)}"), (3, "{[1,2)}"), (4, "{[1,2),[3,4)}")):
            row = await known.row(
                "SELECT unverified_nonces(%s, %s, %s)::text AS unverified", known.chain_id, known.gas_address, below
            )
            assert row["unverified"] == unverified, "never one that a payment has"
        await known.connection.execute("SELECT request_reconciliation(%s, %s, 2)", [known.chain_id, known.gas_address])
        await looked_for(known, timedelta(minutes=10))
        await released(known)
        row = await known.row("SELECT released::text FROM senders WHERE sender = %s", known.gas_address)
        assert row["released"] == "{[1,2)}"


class TestEndless:
    async def test_a_pool_full_of_what_nobody_knows(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconciliation, "_WIDEST_GAP", 2)
        real = evm_desk.real_provider.sender_nonces  # type: ignore[attr-defined]

        async def four_more(sender: str) -> SenderNonces:
            counted = await real(sender)
            return replace(counted, pending=5) if counted.finalized == 1 else counted

        monkeypatch.setattr(evm_desk.real_provider, "sender_nonces", four_more)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await rounds(known, evm_desk, 4)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "none is filled" in alarm
        assert await known.nonces() == [(0, "used")]
        await released(known)
        await rounds(known, evm_desk, 1)
        assert await evm_desk.replacements().round() == 4
        await rounds(known, evm_desk, 6)
        assert await known.nonces() == [(nonce, "used") for nonce in range(5)]
        await goes_on(known, evm_desk, thirsty_evm.address)

    async def test_a_sender_that_others_go_on_using(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Its record never begins: there is always a transaction that is not final yet. Without a word before."""
        txids = []

        async def used(blocks: int) -> None:
            for _ in range(blocks):
                txids.append(await evm.send_unrecorded(len(txids), evm.treasury, 7))
                await evm.network.mine()
                await evm_desk.settlement.round()

        await used(3)
        reasons(await evm_desk.run(GAS))
        await used(5)
        assert await evm_desk.settlement.tidy() == []
        await looked_for(evm, timedelta(hours=1))
        await used(1)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "has not ended for an hour: it goes on sending transactions" in alarm
        await released(evm)
        await used(2)
        await rounds(evm, evm_desk)
        held = await evm_desk.settlement.tidy()
        assert any("is frozen" in alarm for alarm in held), "what it does from now on is nobody's of ours"
        await released(evm)
        evm.outsiders.update(txids)
        await goes_on(evm, evm_desk, thirsty_evm.address)

    async def test_gaps_that_nobody_signs(self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        """The process that fills them is away."""
        txid = await known.send_unrecorded(1, known.treasury, 7)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        await starve(known, evm_desk, txid, 5)
        await known.network.node.call("anvil_dropAllTransactions")
        assert await known.nonces() == [(0, "used"), (1, "void")]
        assert await evm_desk.settlement.tidy() == []
        await looked_for(known, timedelta(hours=1))
        await evm_desk.settlement.round()
        (alarm,) = await evm_desk.settlement.tidy()
        assert "gas-topup or consolidation sign" in alarm
        assert await evm_desk.replacements().round() == 1
        await rounds(known, evm_desk)
        await goes_on(known, evm_desk, thirsty_evm.address)


class TestRelease:
    async def test_a_sender_that_pays_freely_is_not_released(self, known: EvmWorld) -> None:
        with pytest.raises(psycopg.errors.NoDataFound, match="is not frozen on chain"):
            await released(known)

    async def test_reconciliation_has_its_ten_minutes(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await known.send_unrecorded(1, known.treasury, 7)
        await known.flag(thirsty_evm, gas=True)
        reasons(await evm_desk.run(GAS))
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has been reconciled since"):
            await released(known)
        await looked_for(known, timedelta(minutes=10))
        assert "have been searched for since" in await released(known)

    async def test_the_word_of_a_person_is_not_taken_back(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await known.connection.execute("UPDATE senders SET released = '{[3,5)}', released_at = now()")
        for worse in ("released_at = released_at - interval '1 s'", "released = NULL, released_at = NULL"):
            with pytest.raises(psycopg.Error, match="an operator released its nonces") as refused:
                await known.connection.execute(f"UPDATE senders SET {worse}")  # noqa: S608
            assert refused.value.sqlstate == "FP004"


def told(alarms: Sequence[str], text: str) -> bool:
    return any(text in alarm for alarm in alarms)


async def test_blocks_that_never_become_final(evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
    """Nothing is settled, and no node fails."""
    assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
    await evm.network.mine()
    await evm.network.node.call("anvil_setBlockTimestampInterval", 2 * 3600)
    await evm.network.mine()
    await evm.network.node.call("anvil_setBlockTimestampInterval", 1)
    await evm_desk.settlement.round()
    assert told(await evm_desk.settlement.tidy(), "has become final, and the newest is")
    await evm_desk.settle()
    assert await evm_desk.settlement.tidy() == []
