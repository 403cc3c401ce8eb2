"""Every test of the suite runs once for each family. A provider for another chain is one more entry."""

from collections.abc import AsyncIterator

import pytest

from pipeline.chains.provider import Provider
from tests.chains.provider.evm_network import evm_network
from tests.chains.provider.network import TestNetwork
from tests.chains.provider.tron_network import tron_network

NETWORKS = {"tron": tron_network, "evm": evm_network}


@pytest.fixture(params=NETWORKS)
async def network(request: pytest.FixtureRequest) -> AsyncIterator[TestNetwork]:
    async with NETWORKS[request.param]() as running:
        yield running


@pytest.fixture
def provider(network: TestNetwork) -> Provider:
    """Over the network's first node."""
    return network.provider()
