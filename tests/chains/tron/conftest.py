from collections.abc import AsyncIterator

import pytest

from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Payment
from tests.chains.provider.tron_network import TronNetwork, tron_network

PAYER, RECEIVER = 40, 41


@pytest.fixture
async def network() -> AsyncIterator[TronNetwork]:
    async with tron_network() as running:
        yield running


@pytest.fixture
def provider(network: TronNetwork) -> TronProvider:
    return network.provider()


@pytest.fixture
async def token_payment(network: TronNetwork) -> Payment:
    """Of a part of what the payer holds, to somebody who holds none."""
    payer = await network.address(PAYER)
    await network.fund(payer, 200_000_000, tokens=1_000_000_000)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), network.token, 12_000_000)
