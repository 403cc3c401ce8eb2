"""What outsiders, lost commits, lying counts and pruned indexes do to payments on an EVM chain: nothing is paid twice,
and nothing stands still that need not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.chains.evm.rpc.node import EvmNode, Request
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Effect, Family, Finality
from pipeline.db.pool import Pool
from pipeline.keys.derivation import GAS_INDEX
from pipeline.payments.send.replacement_store import ReplacementStore
from pipeline.payments.settle import settlement as settle
from pipeline.queue.jobs import Defer, JobType, Parked
from pipeline.signing.keyring import Keyring
from tests.building import bump
from tests.chains.provider.evm_network import TRANSFER_TOPIC
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import MNEMONIC
from tests.db.paying_kit import states
from tests.db.test_transfers_evm_stuck import outsider, stuck
from tests.seed import Wallet

GAS = JobType.GAS_TOPUP
JUNK_LOG = "0x" + "7f" + "ff" * 32 + "7f" + "ff" * 32 + "7f" + TRANSFER_TOPIC.removeprefix("0x") + "60206000a300"
"""Creation code that logs a Transfer between two words that are no addresses."""


async def lost_replacement(evm: EvmWorld, desk: EvmDesk, pool: Pool) -> str:
    """A replacement is sent and its row is lost with the database it was in; its txid."""
    await stuck(evm, desk)
    (wanted,) = await ReplacementStore(pool).wanted(evm.chain_id, [Kind.GAS])
    unsigned = await bump(desk.real_provider, wanted.signed)  # type: ignore[attr-defined]
    signature = Keyring(MNEMONIC).sign(Family.EVM, GAS_INDEX, unsigned.digest)
    signed = desk.real_provider.codec.attach(unsigned, signature)
    await evm.network.node.call("anvil_dropAllTransactions")
    await desk.real_provider.broadcast(signed)
    return signed.txid


async def did_more(evm: EvmWorld, desk: EvmDesk, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> str:
    """A replacement whose row is lost makes its payment, and another one beside it; its txid."""
    txid, block = await lost_replacement(evm, desk, pool), desk.real_provider.block

    async def with_more(number: int, finality: Finality) -> Any:
        content = await block(number, finality)
        if content is None:
            return None
        more = Effect(evm.token, evm.gas_address, evm.treasury, 1, "l9")
        found = [
            replace(one, effects=(*one.effects, more)) if one.txid == txid else one for one in content.transactions
        ]
        return replace(content, transactions=tuple(found))

    monkeypatch.setattr(desk.real_provider, "block", with_more)
    for _ in range(3):
        await evm.network.finalize()
        await desk.settlement.round()
    return txid


class TestOutsiders:
    async def test_a_log_that_is_no_transfer_holds_up_nothing(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm_desk.run(GAS)
        await evm.network.node.send(evm.network.node.accounts[0], None, data=JUNK_LOG)
        await evm.network.finalize()
        await evm_desk.settlement.round()
        assert await states(evm) == (["completed"], ["final"], ["final"])

    @pytest.mark.parametrize("ours", [False, True])
    async def test_a_receipt_without_a_status(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch, ours: bool
    ) -> None:
        """An outsider's is nobody's concern; ours is not recorded until a node says it clearly."""
        await evm_desk.run(GAS)
        (attempt,) = await evm.attempts()
        theirs = await evm.network.node.send(evm.network.node.accounts[0], thirsty_evm.address, value=1)
        odd, batch = attempt["txid"] if ours else theirs, EvmNode.batch

        async def without_status(node: EvmNode, requests: Sequence[Request]) -> list[Any]:
            answers = await batch(node, requests)
            for receipt in (one for answer in answers if isinstance(answer, list) for one in answer):
                if receipt["transactionHash"] == odd:
                    del receipt["status"]
            for answer in answers:
                if isinstance(answer, dict) and answer.get("transactionHash") == odd:
                    del answer["status"]
            return answers

        monkeypatch.setattr(EvmNode, "batch", without_status)
        await evm.network.finalize()
        final = await evm_desk.real_provider.block_ref(Finality.FINAL)
        content = await evm_desk.real_provider.block(final.number, Finality.FINAL)
        assert content is not None
        assert content.unreadable == {odd}
        if ours:
            await evm_desk.settlement.round()
            assert (await states(evm))[1] == ["included"]
            (alarm,) = await evm_desk.settlement.tidy()
            assert "could not be read" in alarm
            monkeypatch.undo()
        await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["final"]


class TestUsedNonces:
    async def test_a_replacement_whose_row_was_lost_settles_its_payment(
        self, evm: EvmWorld, evm_desk: EvmDesk, pool: Pool, thirsty_evm: Wallet
    ) -> None:
        """The very same effect, final: nobody has to look, and nothing is paid again."""
        txid = await lost_replacement(evm, evm_desk, pool)
        for _ in range(4):
            await evm.network.finalize()
            await evm_desk.settlement.round()
        assert await states(evm) == (["completed"], ["final"], ["replaced", "final"])
        assert await evm_desk.settlement.tidy() == []
        (_, found) = await evm.attempts()
        assert (found["txid"], found["found_on_chain"], bytes(found["signed_bytes"])) == (txid, True, b"")
        (job,) = await evm.jobs()
        assert (job["data"]["outcome"], job["data"]["txid"]) == ("sent", txid)
        assert await evm.nonces() == [(0, "used")]
        assert (await evm.row("SELECT needs_gas FROM wallets"))["needs_gas"] is False
        await evm.network.node.call("anvil_setBalance", thirsty_evm.address, "0x0")
        await evm.network.finalize()
        await evm_desk.run(GAS)
        assert [one.txid for one in await evm.paid_gas()] == [txid]
        await evm.assert_database_equals_chain()

    async def test_a_gap_whose_row_was_lost(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        """Filled by the same payment of one wei, of another time."""
        await evm.connection.execute(
            "INSERT INTO senders (chain_id, sender, first_nonce) VALUES (%s, %s, 0)", [evm.chain_id, evm.gas_address]
        )
        await evm.connection.execute("SELECT void_nonces(%s, %s, 0)", [evm.chain_id, evm.gas_address])
        await evm_desk.settlement.round()
        assert await evm_desk.replacements().round() == 1
        await evm.network.node.call("anvil_dropAllTransactions")
        await evm.send_unrecorded(0, evm.gas_address, 1)
        for _ in range(4):
            await evm.network.finalize()
            await evm_desk.settlement.round()
        assert (await states(evm))[1:] == (["final"], ["replaced", "final"])
        assert await evm_desk.settlement.tidy() == []
        await evm.assert_database_equals_chain()

    async def test_what_did_more_is_for_people(
        self, evm: EvmWorld, evm_desk: EvmDesk, pool: Pool, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not made again, and not recorded by itself; the line behind it moves on."""
        txid = await did_more(evm, evm_desk, pool, monkeypatch)
        assert await states(evm) == (["active"], ["broadcasting"], ["broadcasting"])
        (alarm,) = await evm_desk.settlement.tidy()
        assert txid in alarm
        other = await evm.wallet()
        await evm.flag(other, gas=True)
        assert [outcome for _, outcome in await evm_desk.run(GAS)] == [Parked()]
        for _ in range(4):
            await evm.network.node.call("anvil_dropAllTransactions")
            await evm_desk.pass_blocks(1)
        assert await evm_desk.replacements().round() == 1, "the next of the sender is offered again for more"
        await evm_desk.settle()
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty_evm.address, other.address]
        assert (await states(evm))[1] == ["broadcasting", "final"]

    async def test_the_evidence_names_who_used_it(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        await evm_desk.run(GAS)
        await evm.network.node.call("anvil_dropAllTransactions")
        theirs = await outsider(evm, evm_desk, 0, evm.treasury)
        for _ in range(3):
            await evm.network.finalize()
            await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["expired"]
        (job,) = await evm.jobs()
        assert theirs in job["error_message"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert theirs in alarm

    async def test_nobody_is_buried_whose_successor_is_not_found(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await evm_desk.run(GAS)
        await evm.network.node.call("anvil_dropAllTransactions")
        theirs, block = await outsider(evm, evm_desk, 0, evm.treasury), evm_desk.real_provider.block

        async def without_it(number: int, finality: Finality) -> Any:
            content = await block(number, finality)
            if content is None:
                return None
            kept = tuple(one for one in content.transactions if one.txid != theirs)
            return replace(content, transactions=kept, unreadable=content.unreadable | {theirs})

        monkeypatch.setattr(evm_desk.real_provider, "block", without_it)
        for _ in range(6):
            await evm.network.finalize()
            await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["broadcasting"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert "not proved" in alarm


class TestGuards:
    REFUSE = """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a guard says no' USING ERRCODE = 'FP003'; END $$
    """

    async def test_a_row_that_is_refused_holds_up_no_other(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        other = await evm.wallet()
        await evm.flag(other, gas=True)
        await evm_desk.run(GAS)
        await evm.connection.execute(self.REFUSE)
        first, _ = await evm.transfers()
        await evm.connection.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON transfers FOR EACH ROW WHEN (NEW.state = 'final' AND "
            f"NEW.id = {first['id']}) EXECUTE FUNCTION refuse()"
        )
        for _ in range(3):
            await evm.network.finalize()
            await evm_desk.settlement.round()
        assert sorted((await states(evm))[1]) == ["broadcasting", "final"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert "a guard says no" in alarm
        await evm.connection.execute("DROP TRIGGER no ON transfers")
        for _ in range(3):
            await evm.network.finalize()
            await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["final", "final"]
        assert await evm_desk.settlement.tidy() == []

    async def test_a_refusal_is_called_one(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        await evm.connection.execute(self.REFUSE)
        await evm.connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON chain_transactions FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        ((_, outcome),) = await evm_desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert outcome.reason.startswith("the database refuses this step: a guard says no")


async def test_a_pruned_index_after_a_long_absence(
    evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payment is final in a block that nobody read, and no node finds it by its id any more."""
    monkeypatch.setattr(settle, "LONGEST_SCAN_SECONDS", 20.0)
    await evm_desk.settlement.round()
    await evm_desk.run(GAS)
    await evm.network.finalize()
    await evm.network.mine(60)
    batch = EvmNode.batch

    async def pruned(node: EvmNode, requests: Sequence[Request]) -> list[Any]:
        lookups = ("eth_getTransactionReceipt", "eth_getTransactionByHash")
        answers = await batch(node, requests)
        return [None if method in lookups else one for (method, _), one in zip(requests, answers, strict=True)]

    monkeypatch.setattr(EvmNode, "batch", pruned)
    for _ in range(8):
        await evm_desk.settlement.round()
        await evm.network.mine(2)
    assert await states(evm) == (["completed"], ["final"], ["final"])


async def test_a_scan_is_measured_in_time(evm_desk: EvmDesk) -> None:
    def longest(block_seconds: float) -> int:
        made = settle.Settlement(1, evm_desk.settlements, evm_desk.store, evm_desk.real_provider, block_seconds)
        return made.longest_scan

    assert (longest(3.0), longest(0.5), longest(12.0)) == (200, 1200, 200)
