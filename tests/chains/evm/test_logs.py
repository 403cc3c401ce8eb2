"""Token transfers over ranges of blocks, at nodes that take only so many blocks or give only so many logs."""

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.evm.rpc.logs import FIRST_SPAN
from pipeline.chains.values import Effect, Finality
from pipeline.local.anvil_proxy import ProxyFault
from tests.chains.evm.conftest import Deploy
from tests.chains.provider.evm_network import EvmNetwork

BLOCKS = 60


@pytest.fixture
async def paid(network: EvmNetwork, deploy: Deploy) -> list[tuple[int, str, int]]:
    """(block, receiver, amount): one or several transfers a block, other tokens and coins between them."""
    other = await deploy("PlainToken", arguments=f"{18:064x}")
    expected = []
    for number in range(1, BLOCKS + 1):
        receiver = await network.address(number)
        for amount in range(1, 1 + (5 if number == 30 else number % 3)):
            await network.fund(receiver, 1, tokens=amount)
            expected.append((await network.node.height() + 1, receiver, amount))
        await network.node.send(
            network.node.accounts[0], other.contract, data="0x40c10f19" + receiver[2:].rjust(64, "0") + f"{7:064x}"
        )
        await network.mine()
    await network.finalize()
    return expected


async def read(network: EvmNetwork, provider: EvmProvider) -> list[tuple[int, str, int]]:
    """All there are since the token was deployed, as ``paid`` has them."""
    last = (await provider.block_ref(Finality.FINAL)).number
    found = await provider.transfers(2, last, [network.token.contract or ""])
    assert all(isinstance(one.effect, Effect) and one.effect.contract == network.token.contract for one in found)
    return [(one.block, one.effect.receiver, one.effect.amount) for one in found]


async def test_all_of_them_in_one_call(
    network: EvmNetwork, provider: EvmProvider, paid: list[tuple[int, str, int]]
) -> None:
    assert await read(network, provider) == paid
    assert network.proxy.methods.count("eth_getLogs") == 1
    assert await provider.transfers(1, 10, []) == []


async def test_a_node_that_takes_short_ranges(
    network: EvmNetwork, provider: EvmProvider, paid: list[tuple[int, str, int]]
) -> None:
    network.proxy.largest_range = 10
    assert await read(network, provider) == paid
    assert 1 < provider._logs.span <= 10
    network.proxy.methods.clear()
    assert await read(network, provider) == paid, "what was learnt is kept"
    assert network.proxy.methods.count("eth_getLogs") < 2 * BLOCKS / 5
    network.proxy.largest_range = None
    small = provider._logs.span
    for _ in range(3):
        await read(network, provider)
    assert provider._logs.span > 2 * small, "and tried again"


async def test_a_node_that_gives_few_logs(
    network: EvmNetwork, provider: EvmProvider, paid: list[tuple[int, str, int]]
) -> None:
    """Block 30 alone has five: they are read from its receipts."""
    network.proxy.most_logs = 4
    assert await read(network, provider) == paid
    assert network.proxy.methods.count("eth_getBlockReceipts") >= 1


async def test_a_limit_on_requests_is_no_limit_on_ranges(
    network: EvmNetwork, provider: EvmProvider, paid: list[tuple[int, str, int]]
) -> None:
    await provider.check_network()
    network.proxy.plan(ProxyFault.TOO_MANY, "eth_getLogs")
    assert await read(network, provider) == paid
    assert provider._logs.span == FIRST_SPAN
    assert network.time.slept, "it waited instead"


async def test_a_node_that_lags_is_not_believed(
    network: EvmNetwork, provider: EvmProvider, paid: list[tuple[int, str, int]]
) -> None:
    """It has no logs of blocks that it does not have, and does not say so."""
    last = (await provider.block_ref(Finality.FINAL)).number
    await network.freeze()
    await network.fund(await network.address(3), 1, tokens=99)
    await network.finalize()
    final = await network.provider(network.node.url).block_ref(Finality.FINAL)
    assert final.number > last
    with pytest.raises(ChainUnavailable, match="is at final block"):
        await provider.transfers(last, final.number, [network.token.contract or ""])
    both = network.provider(network.url, network.node.url)
    found = await both.transfers(last, final.number, [network.token.contract or ""])
    assert [one.effect.amount for one in found][-1] == 99
