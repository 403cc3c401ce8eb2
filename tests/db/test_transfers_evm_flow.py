"""Flag → gas → final → consolidation → final over anvil, and many at once from one sender."""

from pipeline.queue.jobs import Done, JobType, Parked
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.seed import USDT

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


async def test_from_flag_to_treasury(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallet = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True, consolidation=True)

    ((_, outcome),) = await evm_desk.run(GAS)
    assert outcome == Parked()
    await evm_desk.settle()
    assert [(one.receiver, one.amount) for one in await evm.paid_gas()] == [(wallet.address, FINNEY)]

    flags = await evm.row("SELECT needs_gas, needs_consolidation FROM wallets WHERE id = %s", wallet.id)
    assert flags == {"needs_gas": False, "needs_consolidation": True}

    ((_, outcome),) = await evm_desk.run(CONSOLIDATION)
    assert outcome == Parked()
    await evm_desk.settle()
    assert [one.amount for one in await evm.swept()] == [250 * USDT]
    assert {row["state"] for row in await evm.transfers()} == {"final"}
    assert {row["status"] for row in await evm.jobs()} == {"completed"}
    assert await evm.nonces() == [(0, "used")]
    await evm.assert_database_equals_chain()


async def test_a_hundred_top_ups_in_one_block(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallets = [await evm.wallet() for _ in range(100)]
    await evm.connection.execute("UPDATE wallets SET needs_gas = true")
    outcomes = await evm_desk.run(GAS)
    assert [outcome for _, outcome in outcomes] == [Parked()] * 100
    await evm.network.mine()
    paid = await evm.paid_gas()
    assert {one.receiver for one in paid} == {wallet.address for wallet in wallets}
    assert len({one.block for one in paid}) == 1
    await evm_desk.settle()
    assert await evm.nonces() == [(nonce, "used") for nonce in range(100)]
    assert {row["status"] for row in await evm.jobs()} == {"completed"}
    await evm.assert_database_equals_chain()


async def test_a_wallet_filled_already_is_skipped(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallet = await evm.wallet(trx=FINNEY)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True)
    ((_, outcome),) = await evm_desk.run(GAS)
    assert isinstance(outcome, Done)
    assert outcome.data["reason"] == "holds 0.001 BNB, not below 0.0002 BNB"
    assert await evm.nonces() == []
