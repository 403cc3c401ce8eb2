"""An odd node of each chain in front of real processes, and a sound one second: none of them ends, every deposit
arrives once, and the odd one is named."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from tests.chains.odd.proxy import OddProxy
from tests.chains.provider.evm_network import evm_network
from tests.chaos.evm_trial import EvmTrial
from tests.chaos.evm_world import EvmRules, EvmWorld
from tests.chaos.fleet import Zygote
from tests.chaos.trial import BLOCK_SECONDS, DEPOSIT
from tests.chaos.world import Rules, World
from tests.databases import fresh_database
from tests.patience import PATIENCE
from tests.policy import write_policy

WALLETS = 2
KINDS = ("sync", "gas-topup", "consolidation", "confirmations", "sweep")
TEXTS = """
    SELECT last_error AS said FROM worker_registry UNION ALL SELECT stats::text FROM worker_registry
    UNION ALL SELECT last_error FROM wallet_balances UNION ALL SELECT error_message FROM job_logs
    UNION ALL SELECT data::text FROM job_logs UNION ALL SELECT last_result FROM chain_transactions
"""
"""Where the words of nodes come to stand."""


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


async def test_no_process_ends_and_every_deposit_arrives(
    server_dsn: str, template: str, zygote: Zygote, home: Path
) -> None:
    block_time = timedelta(seconds=BLOCK_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn, template, "odd nodes"))
        network = await stack.enter_async_context(running(DevnetOptions(block_time=BLOCK_SECONDS, solid_lag=3)))
        devnet = await stack.enter_async_context(DevnetClient(network.main.url))
        connection = await stack.enter_async_context(await AsyncConnection.connect(dsn, autocommit=True))
        anvil = await stack.enter_async_context(evm_network())
        tron = await World.create(connection, devnet, Rules(block_time=block_time))
        bsc = await EvmWorld.found(connection, anvil, EvmRules(block_time=block_time))
        odd = {
            "tron": await stack.enter_async_context(OddProxy.before(network.main.url, seed=1, share=0.2)),
            "bsc": await stack.enter_async_context(OddProxy.before(anvil.node.url, seed=2, share=1.0)),
        }
        sound = {"tron": network.main.url, "bsc": anvil.url}
        for chain, node in odd.items():
            nodes = Jsonb([{"url": node.url}, {"url": sound[chain]}])
            await connection.execute("UPDATE chains SET nodes = %s WHERE name = %s", [nodes, chain])
        await connection.execute("UPDATE chains SET sync_interval = '1 second'")
        await connection.execute(
            "INSERT INTO system_config (key, value) "
            "VALUES ('sweep.interval_seconds', '1'), ('heartbeat_seconds', '0.5')"
        )
        wallets = [await tron.wallet(usdt=DEPOSIT) for _ in range(WALLETS)]
        wallets += [await bsc.wallet(usdt=DEPOSIT) for _ in range(WALLETS)]
        await devnet.solidify()
        await anvil.finalize()
        write_policy(home, tron.policy(), bsc.policy(), name="odd.toml")
        trial = EvmTrial("odd", bsc, wallets[0], dsn, zygote, home, {})
        trial.running.set()
        blocks = asyncio.create_task(trial.make_blocks())
        try:
            for kind in KINDS:
                await trial.start(kind)
            async with asyncio.timeout(2 * PATIENCE):
                while not await arrived(trial, tron, bsc, odd):  # noqa: ASYNC110
                    await asyncio.sleep(2 * BLOCK_SECONDS)
        finally:
            blocks.cancel()
            for process in trial.processes.values():
                process.kill()
            await asyncio.gather(blocks, return_exceptions=True)
        assert [one.amount for one in await tron.swept()] == [DEPOSIT] * WALLETS
        assert [one.amount for one in await bsc.swept()] == [DEPOSIT] * WALLETS
        assert {one.sender for one in await bsc.swept()} == {wallet.address for wallet in bsc.wallets}
        for row in await tron.rows(TEXTS):
            assert row["said"] is None or row["said"].isprintable()
        log = trial.log()
        assert all(node.url in log for node in odd.values())
        assert "\x1b[31m" not in log
        assert not any(line.startswith("forged") for line in log.splitlines())


async def arrived(trial: EvmTrial, tron: World, bsc: EvmWorld, odd: dict[str, OddProxy]) -> bool:
    """Whether all deposits are in the treasuries and recorded, and the odd nodes named. Fails where a process ended."""
    ended = [kind for kind, process in trial.processes.items() if process.status.done()]
    assert not ended, f"{ended} ended:\n{trial.log()[-20_000:]}"
    done = len(await tron.swept()) >= WALLETS and len(await bsc.swept()) >= WALLETS
    settled = await tron.row(
        "SELECT NOT EXISTS (SELECT FROM transfers WHERE state IN ('signed', 'broadcasting', 'included')) AS yes"
    )
    rows = await tron.rows("SELECT type, stats -> 'nodes' AS nodes FROM worker_registry WHERE stats ? 'nodes'")
    return done and settled["yes"] and all(is_named(rows, chain, node.url) for chain, node in odd.items())


def is_named(rows: list[dict[str, Any]], chain: str, url: str) -> bool:
    return any("failures, the last: " in row["nodes"].get(chain, {}).get(url, "") for row in rows)
