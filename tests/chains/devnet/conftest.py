from collections.abc import AsyncIterator

import aiohttp
import pytest

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.network import Devnet
from pipeline.devnet.server import DevnetOptions, running
from tests.chains.devnet.hand import Api, Hand

SOLID_LAG = 3


@pytest.fixture
async def network() -> AsyncIterator[Devnet]:
    """Blocks on demand, solid three blocks later, in memory."""
    async with running(DevnetOptions(block_time=0, solid_lag=SOLID_LAG)) as network:
        yield network


@pytest.fixture
async def devnet(network: Devnet) -> AsyncIterator[DevnetClient]:
    async with DevnetClient(network.main.url) as client:
        yield client


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def api(session: aiohttp.ClientSession, network: Devnet) -> Api:
    return Api(session, network.main.url)


@pytest.fixture
async def usdt(devnet: DevnetClient) -> str:
    contract, _ = await devnet.deploy_token()
    await devnet.mine()
    return contract


@pytest.fixture
async def alice(api: Api, devnet: DevnetClient, usdt: str) -> Hand:
    """Holds 1,000 TRX and 1,000 USDT in a solid block."""
    hand = Hand(api)
    await devnet.faucet(hand.address, 1_000_000_000)
    await devnet.mine()
    await devnet.send_token(usdt, hand.address, 1_000_000_000)
    await devnet.solidify()
    return hand
