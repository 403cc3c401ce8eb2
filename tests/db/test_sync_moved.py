"""Deposits on EVM are read in the block in which they are final, long before their wallet's turn comes."""

import asyncio

import pytest

from pipeline.catalog.chains import ChainRow
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.provider import Provider
from pipeline.db.pool import Connection
from pipeline.local.anvil_proxy import ProxyFault
from pipeline.workers.sync import Sync
from tests.chains.provider.evm_network import EvmNetwork
from tests.chaos.evm_world import EvmWorld
from tests.db.test_sync import Watch
from tests.db.worker_kit import PATIENCE, configure, rows, running
from tests.seed import Wallet

USDT = 10**6


@pytest.fixture
async def wallets(connection: Connection, evm: EvmWorld) -> list[Wallet]:
    """Three, read once a day."""
    await connection.execute("UPDATE chains SET sync_interval = '1 day'")
    await configure(connection, sync__transfers_seconds=0.05, sync__idle_seconds=0.1)
    return [await evm.wallet() for _ in range(3)]


def sync_of(network: EvmNetwork, watch: Watch) -> Sync:
    def open_chain(_: ChainRow) -> Provider:
        provider: EvmProvider = network.provider()
        return provider

    return Sync(open_chain, observer=watch)


async def until_looked(network: EvmNetwork, times: int = 1) -> None:
    """Until the sync has looked at the head that there is now."""
    wanted = network.proxy.methods.count("eth_getBlockByNumber") + 2 * times
    async with asyncio.timeout(PATIENCE):
        while network.proxy.methods.count("eth_getBlockByNumber") < wanted:  # noqa: ASYNC110 - the proxy has no signal
            await asyncio.sleep(0.02)


async def test_a_deposit_is_read_at_once(
    connection: Connection, database: str, evm: EvmWorld, wallets: list[Wallet], network: EvmNetwork
) -> None:
    watch = Watch()
    async with running(sync_of(network, watch), database):
        await watch.until(lambda: watch.read == 6)
        await until_looked(network)
        await network.fund(wallets[1].address, 0, tokens=250 * USDT)
        await network.finalize()
        await watch.until(lambda: watch.read == 7)
        await until_looked(network)
    assert watch.read == 7, "nobody else, and not twice"
    found = await rows(connection, "SELECT address, needs_consolidation FROM wallets WHERE needs_consolidation")
    assert [row["address"] for row in found] == [wallets[1].address]


async def test_what_was_read_at_that_block_or_later_is_not_read_again(
    connection: Connection, database: str, evm: EvmWorld, wallets: list[Wallet], network: EvmNetwork
) -> None:
    watch = Watch()
    async with running(sync_of(network, watch), database):
        await watch.until(lambda: watch.read == 6)
        await until_looked(network)
        await connection.execute("UPDATE wallet_balances SET block_number = 1000000")
        await network.fund(wallets[0].address, 0, tokens=USDT)
        await network.finalize()
        await until_looked(network, 2)
        assert "eth_getLogs" in network.proxy.methods
    assert watch.read == 6


async def test_logs_that_were_not_read_are_made_up_for(
    connection: Connection, database: str, evm: EvmWorld, wallets: list[Wallet], network: EvmNetwork
) -> None:
    watch = Watch()
    async with running(sync_of(network, watch), database):
        await watch.until(lambda: watch.read == 6)
        await until_looked(network)
        network.proxy.plan(ProxyFault.HTML, "eth_getLogs", 3)
        await network.fund(wallets[2].address, 0, tokens=USDT)
        await network.finalize()
        await watch.until(lambda: watch.read == 7)


async def test_it_can_be_switched_off(
    connection: Connection, database: str, evm: EvmWorld, wallets: list[Wallet], network: EvmNetwork
) -> None:
    await configure(connection, sync__transfers_seconds=0)
    watch = Watch()
    async with running(sync_of(network, watch), database):
        await watch.until(lambda: watch.read == 6)
        await network.fund(wallets[0].address, 0, tokens=USDT)
        await network.finalize()
        await connection.execute(
            "UPDATE wallet_balances SET next_check_at = now() WHERE wallet_id = %s", [wallets[1].id]
        )
        await watch.until(lambda: watch.read == 8)
    assert "eth_getLogs" not in network.proxy.methods
    assert watch.read == 8
