"""Flag → gas → final → consolidation → final, step by step against the simulated network."""

from pipeline.queue.jobs import JobType, Parked
from tests.chaos.world import Desk, World
from tests.seed import TRX, USDT


async def test_from_flag_to_treasury(world: World, desk: Desk) -> None:
    wallet = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(wallet, gas=True, consolidation=True)

    ((_, outcome),) = await desk.run(JobType.GAS_TOPUP)
    assert outcome == Parked()
    await desk.settle()
    assert [(one.receiver, one.contract) for one in await world.paid_gas()] == [(wallet.address, None)]

    flags = await world.row("SELECT needs_gas, needs_consolidation FROM wallets WHERE id = %s", wallet.id)
    assert flags == {"needs_gas": False, "needs_consolidation": True}

    ((_, outcome),) = await desk.run(JobType.CONSOLIDATION)
    assert outcome == Parked()
    await desk.settle()
    assert [one.amount for one in await world.swept()] == [250 * USDT]
    assert {row["state"] for row in await world.transfers()} == {"final"}
    assert {row["status"] for row in await world.jobs()} == {"completed"}
    await world.assert_database_equals_chain()
    assert (await world.paid_gas())[0].amount >= 5 * TRX
