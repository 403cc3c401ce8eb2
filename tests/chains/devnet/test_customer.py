"""Customers of the local mode pay by their own key, through tronpy, at a node of their own."""

import sys
from collections.abc import AsyncIterator

import pytest

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.faults import FaultKind
from pipeline.devnet.server import DevnetOptions, running
from pipeline.local.tron import TronNetwork
from tests.chains.devnet.hand import fresh_address
from tests.witness import witness


@pytest.fixture
async def network() -> AsyncIterator[TronNetwork]:
    async with running(DevnetOptions(block_time=0, solid_lag=2)) as devnet:
        made = TronNetwork(devnet.main.url)
        yield made
        await made.close()


async def paid(network: TronNetwork, token: str, receiver: str) -> list[tuple[str, int]]:
    """Senders and amounts of what ``receiver`` got."""
    await network.client.solidify()
    moves = [move for move in await network.movements() if (move.contract, move.receiver) == (token, receiver)]
    return [(move.sender, move.amount) for move in moves]


async def test_a_customer_pays_by_his_own_key(network: TronNetwork) -> None:
    witness("tronpy")
    token, wallet = await network.deploy_token(), fresh_address()
    await network.deposit(token, wallet, 5_000_000)
    await network.deposit(token, wallet, 7)
    (first, one), (second, other) = await paid(network, token, wallet)
    assert (one, other) == (5_000_000, 7)
    assert first == second != (await network.client.status()).faucet


async def test_faults_of_the_workers_node_do_not_meet_him(network: TronNetwork) -> None:
    witness("tronpy")
    token, wallet = await network.deploy_token(), fresh_address()
    await network.client.add_fault(FaultKind.LOST_REQUEST, "wallet/*")
    await network.deposit(token, wallet, 5)
    assert [amount for _, amount in await paid(network, token, wallet)] == [5]


async def test_another_process_pays_from_the_same_node(network: TronNetwork) -> None:
    witness("tronpy")
    token, wallet = await network.deploy_token(), fresh_address()
    other = TronNetwork(network.url)
    await network.deposit(token, wallet, 1)
    await other.deposit(token, wallet, 2)
    await other.close()
    assert [amount for _, amount in await paid(network, token, wallet)] == [1, 2]
    assert len((await network.client.status()).nodes) == 2


async def test_a_network_that_is_gone_is_a_connection_error() -> None:
    witness("tronpy")
    async with running(DevnetOptions(block_time=0, solid_lag=2)) as devnet:
        network = TronNetwork(devnet.main.url)
        token = await network.deploy_token()
        await network.deposit(token, fresh_address(), 1)
    with pytest.raises(ConnectionError):
        await network.deposit(token, fresh_address(), 1)
    await network.close()


async def test_no_proxy_of_the_environment_is_asked(network: TronNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    token, wallet = await network.deploy_token(), fresh_address()
    await network.deposit(token, wallet, 5)
    assert [amount for _, amount in await paid(network, token, wallet)] == [5]


async def test_without_tronpy_the_faucet_pays(network: TronNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pipeline.local.tron_customer", raising=False)
    monkeypatch.setitem(sys.modules, "tronpy", None)
    token, wallet = await network.deploy_token(), fresh_address()
    await network.deposit(token, wallet, 5)
    client: DevnetClient = network.client
    assert await paid(network, token, wallet) == [((await client.status()).faucet, 5)]
