"""A real node behind a fault proxy, fresh for each test, and tokens of every kind."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.values import Asset
from tests.chains.provider.evm_network import EvmNetwork, evm_network

CONTRACTS = Path(__file__).parent / "contracts"

Deploy = Callable[..., Awaitable[Asset]]


@pytest.fixture
async def network() -> AsyncIterator[EvmNetwork]:
    async with evm_network() as running:
        yield running


@pytest.fixture
def provider(network: EvmNetwork) -> EvmProvider:
    return network.provider()


@pytest.fixture
def deploy(network: EvmNetwork) -> Deploy:
    """Deploys one of contracts/Tokens.sol."""

    async def deployed(name: str, *, decimals: int = 18, arguments: str = "") -> Asset:
        contract = await network.node.deploy(CONTRACTS / f"{name}.json", arguments)
        return Asset(name, decimals, network.provider().codec.validate_address(contract))

    return deployed
