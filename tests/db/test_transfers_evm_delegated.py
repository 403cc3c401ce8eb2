"""Nonces of ours that delegations (EIP-7702) in other people's transactions used, over anvil: found, told, and the
sender is frozen, as somebody has its key. Its bytes with that nonce are proved dead, and paid anew once released."""

import pytest

from pipeline.payments.reconcile import nonce_search
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.db.delegation_kit import WRITER, delegated
from tests.db.paying_kit import states
from tests.db.reconcile_kit import again, reasons, rounds, unreconciled
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


@pytest.fixture
async def rich(evm: EvmWorld) -> Wallet:
    """A customer's wallet with tokens and coins."""
    wallet = await evm.wallet(usdt=250 * USDT, trx=FINNEY)
    await evm.network.finalize()
    return wallet


async def released(evm: EvmWorld, sender: str) -> str:
    row = await evm.row("SELECT release_sender('bsc', %s) AS reason", sender)
    return str(row["reason"])


class TestFound:
    @pytest.mark.parametrize("paid_before", [False, True])
    async def test_a_customers_wallet_is_frozen_and_goes_on_when_released(
        self, evm: EvmWorld, evm_desk: EvmDesk, rich: Wallet, paid_before: bool
    ) -> None:
        """It used to wait for ever: "has used nonces 1 to 1, blocks do not show by what", and could not be released."""
        if paid_before:
            await evm.flag(rich, consolidation=True)
            await evm_desk.run(CONSOLIDATION)
            await evm_desk.settle()
            await evm.network.fund(rich.address, 0, 300 * USDT)
        txid = await delegated(evm, rich.derivation_index, int(paid_before))
        await evm.network.finalize()
        await evm.flag(rich, consolidation=True)
        reasons(await evm_desk.run(CONSOLIDATION))
        await rounds(evm, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert "EIP-7702 delegation" in alarm
        assert txid in alarm
        assert f"flagpost senders release bsc {rich.address}" in alarm
        assert await unreconciled(evm) == []
        (used,) = await evm.rows("SELECT nonce, used_by FROM nonces WHERE sender = %s AND state = 'lost'", rich.address)
        assert used == {"nonce": int(paid_before), "used_by": txid}
        (held,) = await again(evm, evm_desk, CONSOLIDATION)
        assert isinstance(held, Defer)
        assert "has been frozen since" in held.reason

        assert "EIP-7702" in await released(evm, rich.address)
        assert await again(evm, evm_desk, CONSOLIDATION) == [Parked()], "a wallet with code still moves its tokens"
        await evm_desk.settle()
        assert [one.amount for one in await evm.swept()][-1] == (300 if paid_before else 250) * USDT
        assert await evm_desk.settlement.tidy() == []
        await evm.assert_database_equals_chain()

    async def test_several_in_one_transaction(self, evm: EvmWorld, evm_desk: EvmDesk, rich: Wallet) -> None:
        """Of two wallets, and two of one of them."""
        other = await evm.wallet(usdt=250 * USDT, trx=FINNEY)
        await delegated(evm, other.derivation_index, 0)
        txid = await delegated(evm, rich.derivation_index, 0, 1)
        await evm.network.finalize()
        for wallet in (rich, other):
            await evm.flag(wallet, consolidation=True)
        reasons(await evm_desk.run(CONSOLIDATION))
        await rounds(evm, evm_desk)
        assert await evm.rows(
            "SELECT nonce, state, used_by FROM nonces WHERE sender = %s ORDER BY nonce", rich.address
        ) == [{"nonce": nonce, "state": "lost", "used_by": txid} for nonce in (0, 1)]
        assert len(await evm_desk.settlement.tidy()) == 2
        for wallet in (rich, other):
            await released(evm, wallet.address)
        assert await again(evm, evm_desk, CONSOLIDATION) == [Parked(), Parked()]
        await evm_desk.settle()
        await evm.assert_database_equals_chain()

    async def test_one_for_another_chain_is_nobodys_concern(
        self, evm: EvmWorld, evm_desk: EvmDesk, rich: Wallet
    ) -> None:
        await delegated(evm, rich.derivation_index, 0, chain_id=1)
        await evm.network.finalize()
        await evm.flag(rich, consolidation=True)
        assert [outcome for _, outcome in await evm_desk.run(CONSOLIDATION)] == [Parked()]
        await evm_desk.settle()
        assert await evm_desk.settlement.tidy() == []

    async def test_the_gas_wallet_is_seen_though_nobody_pays(self, known: EvmWorld, evm_desk: EvmDesk) -> None:
        txid = await delegated(known, 0, 1)
        await known.network.finalize()
        await evm_desk.settlement.tidy()
        await rounds(known, evm_desk)
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm
        assert await known.nonces() == [(0, "used"), (1, "lost")]


class TestOvertaken:
    async def test_a_payment_whose_nonce_it_used_is_dead_and_made_anew(
        self, known: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await known.flag(thirsty_evm, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        await known.network.node.call("anvil_dropAllTransactions")
        txid = await delegated(known, 0, 1)
        await rounds(known, evm_desk, 4)
        assert (await states(known))[1] == ["final", "expired"]
        assert await known.nonces() == [(0, "used"), (1, "lost")]
        assert (await known.row("SELECT used_by FROM nonces WHERE nonce = 1")) == {"used_by": txid}
        (alarm,) = await evm_desk.settlement.tidy()
        assert "EIP-7702" in alarm
        (held,) = await again(known, evm_desk)
        assert isinstance(held, Defer)
        await released(known, known.gas_address)
        assert await again(known, evm_desk) == [Parked()]
        await evm_desk.settle()
        assert [one.receiver for one in await known.paid_gas()][1:] == [thirsty_evm.address], "once"
        await known.assert_database_equals_chain()


class TestCarriedAgain:
    """Anybody may carry a delegation again whose nonce was used long ago: the chain passes over it, and so do we."""

    @pytest.mark.parametrize("has_state", [True, False])
    async def test_what_used_the_nonce_goes_before_it(
        self,
        known: EvmWorld,
        evm_desk: EvmDesk,
        thirsty_evm: Wallet,
        monkeypatch: pytest.MonkeyPatch,
        has_state: bool,
    ) -> None:
        """A top-up that the database lost used it: taken in, and nobody is frozen. With and without a node that has the
        state of old blocks."""
        await known.send_unrecorded(1, thirsty_evm.address, FINNEY)
        await known.network.mine(3)
        await delegated(known, 0, 1)
        await known.network.finalize()
        if not has_state:
            count_at = evm_desk.real_provider.count_at  # type: ignore[attr-defined]
            newest = await known.network.node.height()

            async def pruned(sender: str, number: int) -> int | None:
                return None if number < newest - 2 else await count_at(sender, number)

            monkeypatch.setattr(evm_desk.real_provider, "count_at", pruned)
        await evm_desk.settlement.tidy()
        await rounds(known, evm_desk)
        assert await known.nonces() == [(0, "used"), (1, "used")]
        assert await evm_desk.settlement.tidy() == []
        await known.assert_database_equals_chain()

    async def test_it_freezes_nobody_whose_records_begin_later(
        self, evm: EvmWorld, evm_desk: EvmDesk, rich: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was used before anything that is looked at."""
        monkeypatch.setattr(nonce_search, "BLOCKS_A_ROUND", 8)
        monkeypatch.setattr(evm_desk.settlement._strategy._reconciliation, "_lookback", 8)
        await delegated(evm, rich.derivation_index, 0)
        await evm.network.mine(30)
        await delegated(evm, rich.derivation_index, 0, sponsor=7)
        await evm.network.finalize()
        await evm.flag(rich, consolidation=True)
        reasons(await evm_desk.run(CONSOLIDATION))
        await rounds(evm, evm_desk)
        assert await again(evm, evm_desk, CONSOLIDATION) == [Parked()]
        rows = await evm.rows("SELECT nonce, state FROM nonces WHERE sender = %s", rich.address)
        assert rows == [{"nonce": 1, "state": "reserved"}]


async def test_a_wallet_that_is_frozen_is_given_no_gas(evm: EvmWorld, evm_desk: EvmDesk, rich: Wallet) -> None:
    """Whoever has its key, or the contract that acts for it, would take that, a top-up after the other."""
    await delegated(evm, rich.derivation_index, 0)
    await evm.network.finalize()
    await evm.flag(rich, consolidation=True)
    reasons(await evm_desk.run(CONSOLIDATION))
    await rounds(evm, evm_desk)
    await evm.network.node.call("anvil_setBalance", rich.address, "0x0")
    await evm.network.finalize()
    await evm.flag(rich, gas=True)
    (reason,) = reasons(await evm_desk.run(GAS))
    assert f"no gas goes to wallet {rich.address}, which has been frozen since" in reason
    assert await evm.paid_gas() == []
    await released(evm, rich.address)
    assert Parked() in await again(evm, evm_desk)
    await evm_desk.settle()
    assert [one.receiver for one in await evm.paid_gas()] == [rich.address]


async def test_gas_for_a_wallet_whose_code_takes_more_of_it(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    """A coin transfer to an account with code may need more than 21,000."""
    wallet = await evm.wallet(usdt=250 * USDT)
    await delegated(evm, wallet.derivation_index, 0, to=WRITER)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True)
    assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
    await evm_desk.settle()
    (row,) = await evm.rows("SELECT state, fee_paid FROM transfers")
    assert row["state"] == "final"
    (paid,) = await evm.paid_gas()
    receipt = await evm.network.node.call("eth_getTransactionReceipt", paid.txid)
    assert int(receipt["gasUsed"], 16) > 40_000
