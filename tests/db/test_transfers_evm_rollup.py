"""A rollup that charges for L1 beside gas: wallets are given what their transfers cost, and all of it is recorded."""

from collections.abc import AsyncIterator

import pytest

from pipeline.db.pool import Connection, Pool
from pipeline.queue.jobs import Defer, JobType, Parked
from tests.chains.evm.rollup import Rollup, rollup
from tests.chaos.evm_world import EvmDesk, EvmRules, EvmWorld
from tests.seed import USDT

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION
L1 = 5_000_000_000_000
"""Wei: more than the gas of any transaction here."""


@pytest.fixture
async def chain() -> AsyncIterator[Rollup]:
    async with rollup() as running:
        yield running


@pytest.fixture
async def world(chain: Rollup, connection: Connection) -> EvmWorld:
    return await EvmWorld.found(connection, chain.network, EvmRules(gas_policy="on_demand"))


@pytest.fixture
async def desk(world: EvmWorld, pool: Pool, confirming: Pool) -> AsyncIterator[EvmDesk]:
    made = EvmDesk(world, pool, confirming)
    yield made
    await made.close()


async def test_a_wallet_is_filled_emptied_and_recorded_to_the_last_wei(
    chain: Rollup, world: EvmWorld, desk: EvmDesk
) -> None:
    wallet = await world.wallet(usdt=250 * USDT)
    await world.network.finalize()
    await chain.charge(L1, scalar=2_000_000, constant=777)
    before = await chain.node.balance(world.gas_address, None, "latest")
    await world.flag(wallet, gas=True, consolidation=True)
    assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
    await desk.settle()
    await world.flag(wallet, consolidation=True)
    assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()], "it was given enough"
    await desk.settle()
    assert [one.amount for one in await world.swept()] == [250 * USDT]
    fees = {row["kind"]: int(row["fee_paid"]) for row in await world.rows("SELECT kind, fee_paid FROM transfers")}
    given = sum(one.amount for one in await world.paid_gas())
    assert before - await chain.node.balance(world.gas_address, None, "latest") == given + fees["gas"]
    assert given - await chain.node.balance(wallet.address, None, "latest") == fees["consolidation"]
    assert min(fees.values()) > L1
    await world.assert_database_equals_chain()


async def test_a_gas_wallet_that_cannot_pay_for_l1_waits_and_says_so(
    chain: Rollup, world: EvmWorld, desk: EvmDesk
) -> None:
    """The chain would refuse the top-up for ever, and everything behind it."""
    wallet = await world.wallet(usdt=250 * USDT)
    await world.network.finalize()
    await chain.charge(L1)
    await chain.node.call("anvil_setBalance", world.gas_address, hex(3 * L1))
    await chain.network.finalize()
    await world.flag(wallet, gas=True, consolidation=True)
    ((_, outcome),) = await desk.run(GAS)
    assert isinstance(outcome, Defer)
    assert "send BNB to it" in outcome.reason
    assert await world.nonces() == []


async def test_fee_max_is_held_against_all_of_it(chain: Rollup, world: EvmWorld, desk: EvmDesk) -> None:
    wallet = await world.wallet(usdt=250 * USDT)
    await world.network.finalize()
    await chain.charge(L1)
    await world.connection.execute("UPDATE chains SET fee_max = %s", [L1])
    await world.flag(wallet, gas=True, consolidation=True)
    ((_, outcome),) = await desk.run(GAS)
    assert isinstance(outcome, Defer)
    assert "bsc.fee_max" in outcome.reason
