"""Two families in one installation: one process of each kind serves both, also while the nodes of one are away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from pipeline.local.anvil_proxy import ProxyFault
from tests.chains.provider.evm_network import evm_network
from tests.chaos.evm_trial import EvmTrial
from tests.chaos.evm_world import EvmRules, EvmWorld
from tests.chaos.fleet import Zygote
from tests.chaos.trial import BLOCK_SECONDS, DEPOSIT
from tests.chaos.world import Rules, World
from tests.databases import fresh_database
from tests.patience import PATIENCE
from tests.policy import write_policy

WALLETS = 5
FLAGGED = "(needs_gas OR needs_consolidation)"


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


@pytest.mark.parametrize("away", [False, True])
async def test_both_are_served_by_the_same_processes(
    server_dsn: str, template: str, zygote: Zygote, home: Path, away: bool
) -> None:
    block_time = timedelta(seconds=BLOCK_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn, template, f"two chains {away}"))
        network = await stack.enter_async_context(running(DevnetOptions(block_time=BLOCK_SECONDS, solid_lag=3)))
        devnet = await stack.enter_async_context(DevnetClient(network.main.url))
        connection = await stack.enter_async_context(await AsyncConnection.connect(dsn, autocommit=True))
        anvil = await stack.enter_async_context(evm_network())
        tron = await World.create(connection, devnet, Rules(block_time=block_time))
        bsc = await EvmWorld.found(connection, anvil, EvmRules(block_time=block_time))
        wallets = {
            "tron": [await tron.wallet(usdt=DEPOSIT) for _ in range(WALLETS)],
            "bsc": [await bsc.wallet(usdt=DEPOSIT) for _ in range(WALLETS)],
        }
        await devnet.solidify()
        await anvil.finalize()
        write_policy(home, tron.policy(), bsc.policy(), name="two.toml")
        trial = EvmTrial("two", bsc, wallets["bsc"][0], dsn, zygote, home, {})
        trial.running.set()
        blocks = asyncio.create_task(trial.make_blocks())
        try:
            if away:
                anvil.proxy.plan(ProxyFault.HTML, None, None)
            for kind in ("confirmations", "consolidation", "gas-topup"):
                await trial.start(kind)
            await connection.execute("UPDATE wallets SET needs_gas = true, needs_consolidation = true")
            if away:
                await until(tron, f"NOT EXISTS (SELECT FROM wallets WHERE {FLAGGED} AND chain_id = {tron.chain_id})")
                assert await bsc.payments() == [], "its nodes are away"
                anvil.proxy.calm()
            await until(tron, f"NOT EXISTS (SELECT FROM wallets WHERE {FLAGGED})")
            await until(tron, "NOT EXISTS (SELECT FROM transfers WHERE state <> 'final')")
        finally:
            blocks.cancel()
            for process in trial.processes.values():
                process.kill()
            await asyncio.gather(blocks, return_exceptions=True)
        assert [one.amount for one in await bsc.swept()] == [DEPOSIT] * WALLETS
        assert {one.receiver for one in await bsc.paid_gas()} == {wallet.address for wallet in wallets["bsc"]}
        assert [one.amount for one in await tron.swept()] == [DEPOSIT] * WALLETS
        assert {one.receiver for one in await tron.paid_gas()} == {wallet.address for wallet in wallets["tron"]}
        rows = await tron.rows(
            "SELECT chain_id, count(*) AS payments FROM transfers GROUP BY chain_id ORDER BY chain_id"
        )
        assert [row["payments"] for row in rows] == [2 * WALLETS, 2 * WALLETS]


async def until(world: World, condition: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await world.row(f"SELECT {condition} AS done"))["done"]:  # noqa: ASYNC110
            await asyncio.sleep(BLOCK_SECONDS)
