"""Forks and finality on EVM: nothing is final early, and what is forked away goes out again as the identical bytes."""

from pipeline.queue.jobs import JobType
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.db.paying_kit import states

GAS = JobType.GAS_TOPUP


async def test_included_forked_away_and_sent_again(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    await evm_desk.settlement.round()
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    await evm_desk.pass_blocks(1)
    (before,) = await evm.attempts()
    assert await states(evm) == (["active"], ["included"], ["included"])

    await evm.network.fork_out(1, forget=True)
    await evm_desk.settlement.round()
    (between,) = await evm.attempts()
    assert (between["state"], between["block_id"], between["broadcast_count"]) == ("broadcasting", None, 2)
    assert (await states(evm))[1] == ["broadcasting"]

    await evm_desk.settle()
    (after,) = await evm.attempts()
    assert (after["txid"], bytes(after["signed_bytes"])) == (before["txid"], bytes(before["signed_bytes"]))
    assert after["block_id"] != before["block_id"]
    assert await states(evm) == (["completed"], ["final"], ["final"])
    await evm.assert_database_equals_chain()


async def test_not_final_before_the_finalized_tag(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    await evm_desk.settlement.round()
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    seen = []
    for _ in range(3):
        await evm_desk.pass_blocks(1)
        seen += (await states(evm))[1]
    assert seen == ["included", "included", "final"]


async def test_a_fork_while_the_worker_was_away(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    await evm_desk.settlement.round()
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    await evm_desk.pass_blocks(1)
    await evm.network.fork_out(1, forget=True)
    await evm.network.finalize()
    restarted = evm_desk.new_settlement()
    await restarted.round()
    await evm.network.finalize()
    await restarted.round()
    assert (await states(evm))[1] == ["final"]
    assert len(await evm.paid_gas()) == 1
    await evm.assert_database_equals_chain()


async def test_after_a_long_absence_it_is_looked_up(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    """More final blocks than are read one by one: each payment by all its attempts."""
    await evm_desk.settlement.round()
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(GAS)
    await evm.network.mine(260)
    await evm_desk.new_settlement().round()
    assert await states(evm) == (["completed"], ["final"], ["final"])
