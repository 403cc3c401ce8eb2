"""Payments in final blocks of which nobody can read how they ended: each waits, and nothing else does. They are never
called dead, whatever nodes and people say, and settled when they can be read."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.blocks.follower import BlockFollower
from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.values import BlockContent, Finality, Proof, Verdict
from pipeline.queue.jobs import JobType, Parked
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.paying_kit import states
from tests.db.reconcile_kit import again, rounds
from tests.db.test_transfers_evm_stuck import outsider
from tests.seed import Wallet

GAS = JobType.GAS_TOPUP


def without_result(content: BlockContent, txid: str) -> BlockContent:
    """As a node gives it that lacks the receipt."""
    kept = tuple(one for one in content.transactions if one.txid != txid)
    listed = {txid} if len(kept) < len(content.transactions) else set()
    return replace(content, transactions=kept, unreadable=content.unreadable | listed)


class Receipts:
    """The receipt of a payment is missing in blocks, and looked up it is as ``verdict`` says; until ``back``."""

    def __init__(self, desk: Desk | EvmDesk, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._provider: Any = desk.real_provider
        self.txid = ""
        self.verdict = Verdict(Proof.OPEN, None, "no node has it")

    def lose(self, txid: str, change: Callable[[BlockContent, str], BlockContent] = without_result) -> None:
        self.txid = txid
        block, verdict, verdicts = (
            self._provider.block,
            self._provider.verdict,
            getattr(self._provider, "verdicts", None),
        )

        async def changed(number: int, finality: Finality) -> BlockContent | None:
            content = await block(number, finality)
            return None if content is None else change(content, self.txid)

        async def one(signed: Any) -> Verdict:
            return self.verdict if signed.txid == self.txid else await verdict(signed)

        async def several(attempts: Any) -> list[Verdict]:
            assert verdicts is not None
            return [self.verdict] if attempts[0].txid == self.txid else await verdicts(attempts)

        self._patch.setattr(self._provider, "block", changed)
        self._patch.setattr(self._provider, "verdict", one)
        if verdicts is not None:
            self._patch.setattr(self._provider, "verdicts", several)

    def back(self) -> None:
        self._patch.undo()


@pytest.fixture
def receipts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Receipts:
    return Receipts(desk, monkeypatch)


@pytest.fixture
def evm_receipts(evm_desk: EvmDesk, monkeypatch: pytest.MonkeyPatch) -> Receipts:
    return Receipts(evm_desk, monkeypatch)


async def paid(evm: EvmWorld, desk: EvmDesk, wallet: Wallet) -> str:
    """A top-up is out; its txid."""
    await evm.flag(wallet, gas=True)
    assert Parked() in await again(evm, desk)
    return str((await evm.attempts())[-1]["txid"])


class TestWaitsAlone:
    @pytest.mark.parametrize("restarted", [False, True])
    async def test_others_of_its_block_and_later_ones_are_settled(
        self, evm: EvmWorld, evm_desk: EvmDesk, evm_receipts: Receipts, thirsty_evm: Wallet, restarted: bool
    ) -> None:
        await evm_desk.settlement.round()
        evm_receipts.lose(await paid(evm, evm_desk, thirsty_evm))
        other, later = await evm.wallet(), await evm.wallet()
        await paid(evm, evm_desk, other)
        await rounds(evm, evm_desk, 1)
        assert (await states(evm))[1] == ["included", "final"]
        if restarted:
            evm_desk.settlement = evm_desk.new_settlement()
        await paid(evm, evm_desk, later)
        await rounds(evm, evm_desk, 4)
        assert (await states(evm))[1] == ["included", "final", "final"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert evm_receipts.txid in alarm
        assert "could not be read" in alarm
        (sent, *_) = await evm.attempts()
        assert sent["broadcast_count"] == 1, "it is in a block: nobody sends it again"
        evm_receipts.back()
        await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["final"] * 3
        assert await evm_desk.settlement.tidy() == []
        assert len(await evm.paid_gas()) == 3
        await evm.assert_database_equals_chain()

    async def test_nodes_that_disagree_about_one_hold_up_no_other(
        self, evm: EvmWorld, evm_desk: EvmDesk, evm_receipts: Receipts, thirsty_evm: Wallet
    ) -> None:
        def failed(content: BlockContent, txid: str) -> BlockContent:
            changed = tuple(replace(one, success=one.success and one.txid != txid) for one in content.transactions)
            return replace(content, transactions=changed)

        await evm_desk.settlement.round()
        evm_receipts.lose(await paid(evm, evm_desk, thirsty_evm), failed)
        other = await evm.wallet()
        await paid(evm, evm_desk, other)
        await rounds(evm, evm_desk, 3)
        assert (await states(evm))[1] == ["included", "final"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert "did not pay" in alarm
        evm_receipts.back()
        await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["final", "final"]
        assert await evm_desk.settlement.tidy() == []

    async def test_blocks_that_cannot_be_read_for_one_keep_no_other_waiting(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody else used its nonce: what that was is in a block that no node gives whole."""
        await evm_desk.run(GAS)
        await evm.network.node.call("anvil_dropAllTransactions")
        await outsider(evm, evm_desk, 0, evm.treasury)
        await rounds(evm, evm_desk, 1)
        reading, block = evm_desk.settlement._strategy._superseded, evm_desk.real_provider.block
        top = await evm.network.node.height()

        async def lacks_receipts(number: int) -> BlockContent | None:
            if number <= top:
                raise ChainUnavailable(f"no node gives all receipts of block {number}")
            return await block(number, Finality.FINAL)

        blocks = reading._blocks
        reading._blocks = BlockFollower(lacks_receipts)
        await evm.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 hour'")
        await rounds(evm, evm_desk, 3)
        assert (await states(evm))[1] == ["broadcasting"]
        assert (await evm.attempts())[0]["broadcast_count"] > 1, "what comes after that in a round is done"
        (alarm,) = await evm_desk.settlement.tidy()
        assert "no node gives all receipts" in alarm
        reading._blocks = blocks
        await rounds(evm, evm_desk, 1)
        assert (await states(evm))[1] == ["expired"]


class TestNeverDead:
    async def test_whatever_nodes_and_people_say(
        self, known: EvmWorld, evm_desk: EvmDesk, evm_receipts: Receipts, thirsty_evm: Wallet
    ) -> None:
        """The blocks were passed over after a long absence; a node without an index calls it dead, and a person
        released its nonce: it was expired, and paid again."""
        evm_receipts.lose(await paid(known, evm_desk, thirsty_evm))
        evm_receipts.verdict = Verdict(Proof.DEAD, None, "a node has no receipt of it")
        evm_desk.settlement.longest_scan = -1
        await rounds(known, evm_desk, 1)
        evm_desk.settlement.longest_scan = 200
        await known.connection.execute("UPDATE senders SET released = '{[1,2)}', released_at = now()")
        await rounds(known, evm_desk, 4)
        assert (await states(known))[1] == ["final", "included"]
        (alarm,) = await evm_desk.settlement.tidy()
        assert evm_receipts.txid in alarm
        evm_receipts.back()
        await evm_desk.settlement.round()
        assert (await states(known))[1] == ["final", "final"]

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_past_its_expiration(
        self, world: World, desk: Desk, receipts: Receipts, thirsty: Wallet, restarted: bool
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        receipts.lose(str((await world.attempts())[0]["txid"]))
        receipts.verdict = Verdict(Proof.DEAD, None, "a node has no index")
        await world.devnet.solidify()
        await desk.settlement.round()
        settlement = desk.new_settlement() if restarted else desk.settlement
        await world.devnet.advance(61)
        await world.devnet.mine(30)
        for _ in range(3):
            await settlement.round()
        assert (await states(world))[1] == ["included"]
        (alarm,) = await settlement.tidy()
        assert "could not be read" in alarm
        receipts.back()
        await settlement.round()
        assert await states(world) == (["completed"], ["final"], ["final"])

    async def test_past_its_expiration_after_a_long_absence(
        self, world: World, desk: Desk, receipts: Receipts, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        receipts.lose(str((await world.attempts())[0]["txid"]))
        receipts.verdict = Verdict(Proof.DEAD, None, "a node has no index")
        await world.devnet.solidify()
        await world.devnet.advance(61)
        await world.devnet.mine(30)
        desk.settlement.longest_scan = -1
        await desk.settlement.round()
        desk.settlement.longest_scan = 200
        for _ in range(2):
            await world.devnet.mine(1)
            await desk.settlement.round()
        assert (await states(world))[1] == ["included"]
        assert "could not be read" in (await desk.settlement.tidy())[0]
