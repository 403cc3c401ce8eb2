"""The world over anvil and a desk to work at; imported by the tests that use them."""

from collections.abc import AsyncIterator

import pytest

from pipeline.db.pool import Connection, Pool
from pipeline.queue.jobs import JobType
from tests.chains.provider.evm_network import EvmNetwork, evm_network
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.seed import USDT, Wallet


@pytest.fixture
async def network() -> AsyncIterator[EvmNetwork]:
    async with evm_network() as running:
        yield running


@pytest.fixture
async def evm(connection: Connection, network: EvmNetwork) -> EvmWorld:
    """A node that makes blocks when told, described in the test's database."""
    return await EvmWorld.found(connection, network)


@pytest.fixture
async def evm_desk(evm: EvmWorld, pool: Pool, confirming: Pool) -> AsyncIterator[EvmDesk]:
    made = EvmDesk(evm, pool, confirming)
    yield made
    await made.close()


@pytest.fixture
async def other_evm_desk(evm: EvmWorld, pool: Pool, confirming: Pool) -> AsyncIterator[EvmDesk]:
    """A second process of the same kinds."""
    made = EvmDesk(evm, pool, confirming)
    yield made
    await made.close()


@pytest.fixture
async def thirsty_evm(evm: EvmWorld) -> Wallet:
    """A wallet with tokens and no coin, flagged for gas."""
    wallet = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True, consolidation=True)
    return wallet


@pytest.fixture
async def known(evm: EvmWorld, evm_desk: EvmDesk) -> EvmWorld:
    """The gas wallet has paid before, nonce 0, and it is recorded."""
    wallet = await evm.wallet()
    await evm.flag(wallet, gas=True)
    await evm_desk.run(JobType.GAS_TOPUP)
    await evm_desk.settle()
    assert await evm.nonces() == [(0, "used")]
    return evm
