"""Every provider: nodes that misbehave. No test waits: the provider sleeps on the network's fake clock."""

import pytest

from pipeline.chains.errors import ChainUnavailable, WrongNetwork
from pipeline.chains.provider import Provider
from pipeline.chains.values import BalanceQuery, Finality
from tests.chains.provider.network import TestNetwork, Trouble

REFUSALS = [Trouble.TOO_MANY, Trouble.BANNED, Trouble.SUSPENDED]


@pytest.mark.parametrize(
    "trouble", [Trouble.HTML, Trouble.NO_REPLY, Trouble.NO_REQUEST, Trouble.BUSY, Trouble.TOO_MANY]
)
async def test_reads_outlast_short_trouble(network: TestNetwork, provider: Provider, trouble: Trouble) -> None:
    await network.trouble(trouble, count=3)
    assert (await provider.block_ref(Finality.HEAD)).number > 0
    assert network.time.slept, "it waited in between"
    assert network.time.now - 1000 < 20


@pytest.mark.parametrize("trouble", [Trouble.HTML, Trouble.NO_REPLY, Trouble.NO_REQUEST, Trouble.BUSY])
async def test_reads_give_up_and_name_the_node(network: TestNetwork, provider: Provider, trouble: Trouble) -> None:
    await network.trouble(trouble, count=None)
    with pytest.raises(ChainUnavailable, match=network.url):
        await provider.balances([BalanceQuery(await network.address(1), network.coin)])
    assert 10 < network.time.now - 1000 < 30, "patience is limited, on the provider's clock"


async def test_html_is_called_html(network: TestNetwork, provider: Provider) -> None:
    await network.trouble(Trouble.HTML, count=None)
    with pytest.raises(ChainUnavailable, match="an HTML page, not JSON"):
        await provider.block_ref(Finality.HEAD)


@pytest.mark.parametrize("trouble", [Trouble.TOO_MANY, Trouble.SUSPENDED])
async def test_a_short_suspension_is_waited_for(network: TestNetwork, provider: Provider, trouble: Trouble) -> None:
    await network.trouble(trouble)
    network.time.on_sleep = network.calm
    assert (await provider.block_ref(Finality.HEAD)).number > 0
    assert len(network.time.slept) == 1
    assert network.time.slept[0] >= (5 if trouble is Trouble.SUSPENDED else 1)


async def test_a_ban_is_obeyed_for_as_long_as_it_lasts(network: TestNetwork, provider: Provider) -> None:
    await network.trouble(Trouble.BANNED)
    with pytest.raises(ChainUnavailable, match="HTTP 403"):
        await provider.block_ref(Finality.HEAD)
    await network.calm()
    network.time.now += 29
    with pytest.raises(ChainUnavailable, match="suspended for 1 s more"):
        await provider.check_network()
    assert network.time.slept == []
    network.time.now += 1
    assert (await provider.block_ref(Finality.HEAD)).number > 0


@pytest.mark.parametrize("trouble", [*REFUSALS, Trouble.HTML, Trouble.NO_REQUEST])
async def test_the_second_node_takes_over_at_once_and_the_first_comes_back(
    network: TestNetwork, trouble: Trouble
) -> None:
    provider = network.provider(network.url, await network.another_node())
    await network.trouble(trouble, count=None)
    head = await provider.block_ref(Finality.HEAD)
    assert network.time.slept == []
    await network.calm()
    network.time.now += 120
    assert await provider.block_ref(Finality.HEAD) == head


async def test_failover_never_ends_on_another_network(network: TestNetwork) -> None:
    elsewhere = await network.another_network()
    provider = network.provider(network.url, elsewhere)
    assert (await provider.block_ref(Finality.HEAD)).number > 0
    await network.trouble(Trouble.NO_REQUEST, count=None)
    with pytest.raises(WrongNetwork, match=elsewhere):
        await provider.block_ref(Finality.HEAD)
    await network.calm()
    assert (await provider.block_ref(Finality.HEAD)).number > 0


async def test_a_node_is_compared_again_after_it_broke_off(network: TestNetwork) -> None:
    provider = network.provider()
    await provider.check_network()
    await network.trouble(Trouble.NO_REQUEST, count=2)
    assert (await provider.block_ref(Finality.HEAD)).number > 0
    assert len(network.time.slept) == 2, "the first call and then the comparison failed"


async def test_balances_go_on_over_the_second_node(network: TestNetwork) -> None:
    wallet = await network.address(50)
    await network.fund(wallet, 4_000_000, tokens=9)
    await network.finalize()
    provider = network.provider(network.url, await network.another_node())
    await network.trouble(Trouble.NO_REPLY, count=None)
    queries = [BalanceQuery(wallet, network.coin), BalanceQuery(wallet, network.token)]
    assert [balance.raw for balance in await provider.balances(queries)] == [4_000_000, 9]
