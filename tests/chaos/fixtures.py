"""A world with blocks on demand and a desk to work at; imported by the tests that use them."""

from collections.abc import AsyncIterator

import pytest

from pipeline.db.pool import Connection, Pool, pool_of
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from tests.chaos.world import Desk, World
from tests.seed import TRX, USDT, Wallet

SOLID_LAG = 2
"""Blocks until a block is final."""


@pytest.fixture
async def world(connection: Connection) -> AsyncIterator[World]:
    """A simulated network that makes blocks when told, described in the test's database."""
    options = DevnetOptions(block_time=0, solid_lag=SOLID_LAG)
    async with running(options) as network, DevnetClient(network.main.url) as devnet:
        yield await World.create(connection, devnet)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """Connections under the executor's role."""
    async with pool_of(database, "test", role="pipeline_executor") as opened:
        yield opened


@pytest.fixture
async def confirming(database: str) -> AsyncIterator[Pool]:
    """Connections under the confirmation worker's role."""
    async with pool_of(database, "confirming", role="pipeline_confirmations") as opened:
        yield opened


@pytest.fixture
async def desk(world: World, pool: Pool, confirming: Pool) -> AsyncIterator[Desk]:
    """The money room in this process, step by step."""
    made = Desk(world, pool, confirming)
    yield made
    await made.close()


@pytest.fixture
async def other_desk(world: World, pool: Pool, confirming: Pool) -> AsyncIterator[Desk]:
    """A second process of the same kinds."""
    made = Desk(world, pool, confirming)
    yield made
    await made.close()


@pytest.fixture
async def thirsty(world: World) -> Wallet:
    """A wallet with tokens and no coin, flagged for gas."""
    wallet = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(wallet, gas=True, consolidation=True)
    return wallet


@pytest.fixture
async def ready(world: World) -> Wallet:
    """A wallet with tokens and coins, flagged for consolidation."""
    wallet = await world.wallet(usdt=250 * USDT, trx=30 * TRX)
    await world.devnet.solidify()
    await world.flag(wallet, consolidation=True)
    return wallet
