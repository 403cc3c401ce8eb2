"""Chains and tokens come and go under processes that run: nothing is restarted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg import AsyncConnection

from pipeline.chains.values import Family
from pipeline.local.anvil import BNB, CHAIN_ID, AnvilNetwork, anvil_command, find_anvil
from pipeline.local.anvil_proxy import SEND, ProxyFault
from pipeline.local.networks import NO_ANVIL
from pipeline.local.procfile import Line, Phase
from pipeline.local.stand import NO_NODE, Stand, open_stand, until_answered
from tests.chains.evm.proxy import OddNode
from tests.e2e.conftest import BLOCK_TIME, environment, terms
from tests.e2e.running import flagpost
from tests.e2e.test_psql import answer
from tests.policy import policy, write_policy

USDT = 10**18


@pytest.fixture
async def stand(home: Path, server_dsn: str) -> AsyncIterator[Stand]:
    """TRON alone, without workers."""
    async with open_stand(home, terms(wallets=2), server=server_dsn, block_time=BLOCK_TIME, solid_lag=1) as opened:
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
    _, treasury = stand.home.gas_and_treasury(network.family)
    assert await network.balance(treasury, token) == raw


@pytest.fixture
async def sidechain(stand: Stand) -> AsyncIterator[AnvilNetwork]:
    """An EVM network that the stand knows nothing of."""
    binary = find_anvil()
    if binary is None:
        pytest.skip(NO_ANVIL)
    port = stand.home.node_port("sidechain")
    command = anvil_command(binary, port, BLOCK_TIME, 1, None)
    await stand.fleet.start([Line("sidechain", command, Phase.NODE)])
    network = AnvilNetwork(f"http://127.0.0.1:{port}")
    await until_answered(network.network_id, NO_NODE, stand.fleet.check)
    yield network
    await network.close()


async def test_a_chain_and_two_tokens_are_added_while_everything_runs(stand: Stand, sidechain: AnvilNetwork) -> None:
    first, second = await sidechain.deploy_token(), await sidechain.deploy_token()
    # What may be signed is said before the processes start: no row can add to it.
    write_policy(stand.home.path, policy(Family.EVM, str(CHAIN_ID), first, second), more=True)
    await stand.start_workers()
    gas, _ = stand.home.gas_and_treasury(sidechain.family)
    await sidechain.faucet(gas, BNB)
    done(
        stand, "chains", "add", "sidechain", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", sidechain.url,
        "--block-time", str(BLOCK_TIME), "--sync-interval", "1",
    )  # fmt: skip
    done(stand, "assets", "add", "sidechain", first, "--flag-above", "200 USDT")
    done(stand, "wallets", "derive", "--chain", "sidechain", "--count", "2")
    wallets = list(stand.home.branch(sidechain.family).addresses((10, 11)))
    for wallet in wallets:
        await sidechain.deposit(first, wallet, 300 * USDT)
    await arrived(stand, sidechain, first, 600 * USDT)
    # Both call themselves USDT: the second is taken once the first has another name here.
    async with await AsyncConnection.connect(stand.dsn, autocommit=True) as connection:
        await connection.execute("UPDATE asset_on_chain SET symbol = 'OLD' WHERE contract_address = %s", [first])
    done(stand, "assets", "add", "sidechain", second, "--flag-above", "200 USDT")
    await sidechain.deposit(second, wallets[0], 250 * USDT)
    await arrived(stand, sidechain, second, 250 * USDT)
    done(stand, "chains", "disable", "sidechain")
    stand.fleet.check()


async def test_with_faults_between_us_and_the_node_every_treasury_is_exact(home: Path, server_dsn: str) -> None:
    if find_anvil() is None:
        pytest.skip(NO_ANVIL)
    few = terms(wallets=4, gas_funds={"bsc": BNB})
    async with open_stand(home, few, chains=("bsc",), server=server_dsn, block_time=BLOCK_TIME, solid_lag=2) as stand:
        chain = stand.chains[0]
        async with OddNode.before(chain.network.url) as proxy:
            for fault in (
                ProxyFault.LOST_REPLY,
                ProxyFault.DUPLICATED,
                ProxyFault.LOST_REQUEST,
                ProxyFault.FALSE_HASH,
                ProxyFault.BUSY,
            ):
                proxy.plan(fault, SEND, 2)
            for fault in (ProxyFault.LOST_REPLY, ProxyFault.HTML, ProxyFault.TOO_MANY, ProxyFault.SUSPENDED):
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
