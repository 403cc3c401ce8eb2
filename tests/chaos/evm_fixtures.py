"""The world over anvil and a desk to work at; imported by the tests that use them."""

from collections.abc import AsyncIterator

import pytest

from pipeline.db.pool import Connection, Pool
from tests.chains.provider.evm_network import EvmNetwork, evm_network
from tests.chaos.evm_world import EvmDesk, EvmWorld


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
