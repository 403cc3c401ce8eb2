"""Chains and tokens come and go under processes that run: nothing is restarted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from pipeline.local.anvil import BNB, AnvilNetwork
from pipeline.local.stand import Stand, open_stand
from tests.chains.evm.anvil import anvil
from tests.chains.evm.proxy import SEND, Fault, fault_proxy
from tests.e2e.conftest import BLOCK_TIME, environment, terms
from tests.e2e.running import flagpost
from tests.e2e.test_psql import answer

USDT = 10**18
CHAIN_ID = 1337


@pytest.fixture
async def stand(home: Path, server_dsn: str) -> AsyncIterator[Stand]:
    """TRON alone, with all its workers."""
    async with open_stand(home, terms(wallets=2), server=server_dsn, block_time=BLOCK_TIME, solid_lag=1) as opened:
        await opened.start_workers()
        yield opened


def done(stand: Stand, *arguments: str) -> str:
    finished = flagpost(arguments, environment(stand))
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


async def arrived(stand: Stand, network: AnvilNetwork, token: str, raw: int) -> None:
    """Until the treasury holds ``raw`` and nothing moves."""
    async with await AsyncConnection.connect(stand.dsn, autocommit=True) as connection:
        await answer(
            connection,
            "SELECT 1 FROM transfers t JOIN asset_on_chain a ON a.id = t.asset_on_chain_id"
            " WHERE t.kind = 'consolidation' AND t.state = 'final' AND a.contract_address = %s"
            " GROUP BY a.id HAVING sum(t.amount) >= %s",
            token,
            raw,
        )
    _, treasury = stand.home.house(network.family)
    assert await network.balance(treasury, token) == raw


async def test_a_chain_and_two_tokens_are_added_while_everything_runs(stand: Stand) -> None:
    ticking = ["--block-time", "0.2", "--mixed-mining"]
    async with anvil(chain_id=CHAIN_ID, base_fee=10**9, options=ticking, mining=True) as node:
        network = AnvilNetwork(node.url)
        try:
            first, second = await network.deploy_token(), await network.deploy_token()
            gas, _ = stand.home.house(network.family)
            await network.faucet(gas, BNB)
            done(
                stand, "chains", "add", "sidechain", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", node.url,
                "--block-time", "0.2", "--sync-interval", "1",
            )  # fmt: skip
            done(stand, "assets", "add", "sidechain", first, "--flag-above", "200 USDT")
            done(stand, "wallets", "derive", "--chain", "sidechain", "--count", "2")
            wallets = list(stand.home.branch(network.family).addresses((10, 11)))
            for wallet in wallets:
                await network.deposit(first, wallet, 300 * USDT)
            await arrived(stand, network, first, 600 * USDT)
            # Both call themselves USDT: the second is taken after the first is renamed by hand, as its owner might.
            async with await AsyncConnection.connect(stand.dsn, autocommit=True) as connection:
                await connection.execute("UPDATE asset_on_chain SET symbol = 'OLD' WHERE contract_address = %s", [first])
            done(stand, "assets", "add", "sidechain", second, "--flag-above", "200 USDT")
            await network.deposit(second, wallets[0], 250 * USDT)
            await arrived(stand, network, second, 250 * USDT)
            done(stand, "chains", "disable", "sidechain")
            stand.fleet.check()
        finally:
            await network.close()


async def test_with_faults_between_us_and_the_node_every_treasury_is_exact(home: Path, server_dsn: str) -> None:
    few = terms(wallets=4, gas_funds={"bsc": BNB})
    async with open_stand(home, few, chains=("bsc",), server=server_dsn, block_time=BLOCK_TIME, solid_lag=2) as stand:
        chain = stand.chains[0]
        async with fault_proxy(chain.network.url) as proxy:
            for fault in (Fault.LOST_REPLY, Fault.DUPLICATED, Fault.LOST_REQUEST, Fault.FALSE_HASH, Fault.BUSY):
                proxy.plan(fault, SEND, 2)
            for fault in (Fault.LOST_REPLY, Fault.HTML, Fault.TOO_MANY, Fault.SUSPENDED):
                proxy.plan(fault, None, 3)
            stand.workers_env["FLAGPOST_NODES_BSC"] = proxy.url
            await stand.start_workers()
            for wallet in chain.customers:
                await chain.network.deposit(chain.token, wallet, 300 * USDT)
            async with await AsyncConnection.connect(stand.dsn, autocommit=True) as connection:
                await answer(
                    connection,
                    "SELECT 1 FROM transfers WHERE kind = 'consolidation' AND state = 'final' HAVING count(*) = 4",
                    patience=90,
                )
            assert SEND in proxy.methods
        moves = await chain.network.movements()
        paid = [move.sender for move in moves if move.receiver == chain.treasury and move.contract == chain.token]
        assert sorted(paid) == sorted(chain.customers)
        assert await chain.network.balance(chain.treasury, chain.token) == 4 * 300 * USDT
