"""Both ways of reading balances, the genuine Multicall3 among them, and what a contract can do to them."""

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.values import Asset, BalanceQuery, Finality
from pipeline.local.anvil_proxy import ProxyFault
from tests.chains.evm import multicall3
from tests.chains.evm.conftest import Deploy
from tests.chains.provider.evm_network import EvmNetwork


@pytest.mark.parametrize("standing", [False, True])
async def test_both_ways_read_the_same(network: EvmNetwork, deploy: Deploy, standing: bool) -> None:
    if standing:
        await multicall3.stand(network.node)
    eater = await deploy("GasEater")
    no_token = await deploy("NoToken")
    wallet = await network.address(9)
    await network.fund(wallet, 12_345, tokens=678)
    await network.finalize()
    provider = network.provider()
    queries = [
        BalanceQuery(wallet, network.coin),
        BalanceQuery(wallet, eater),
        BalanceQuery(wallet, network.token),
        BalanceQuery(wallet, no_token),
        BalanceQuery(wallet, Asset("NONE", 18, await network.address(70))),
        BalanceQuery(wallet.lower(), network.token),
        BalanceQuery("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", network.coin),
    ]
    balances = await provider.balances(queries)
    assert [balance.raw for balance in balances] == [12_345, None, 678, None, None, 678, None]
    errors = [balance.error or "" for balance in balances]
    assert "it does not answer balanceOf" in errors[3]
    assert "is not a contract" in errors[4]
    assert "TRON address" in errors[6]
    assert {balance.block for balance in balances[:6]} == {await provider.block_ref(Finality.FINAL)}
    called = [method for method in network.proxy.methods if method == "eth_call"]
    assert len(called) < 8, "most of them in one call"


@pytest.mark.parametrize("standing", [False, True])
async def test_a_thousand_in_two_calls_at_one_block(network: EvmNetwork, standing: bool) -> None:
    if standing:
        await multicall3.stand(network.node)
    wallets = [await network.address(index) for index in range(100, 600)]
    for wallet in wallets[::50]:
        await network.fund(wallet, int(wallet[-4:], 16) + 1)
    await network.finalize()
    provider = network.provider()
    await provider.check_network()
    network.proxy.methods.clear()
    queries = [BalanceQuery(wallet, asset) for asset in (network.coin, network.token) for wallet in wallets]
    balances = await provider.balances(queries)
    assert [balance.raw for balance in balances[:500:50]] == [int(wallet[-4:], 16) + 1 for wallet in wallets[::50]]
    assert sum(balance.raw or 0 for balance in balances[500:]) == 0
    assert all(balance.error is None for balance in balances)
    assert len({balance.block for balance in balances}) == 1
    assert network.proxy.methods.count("eth_call") == 2


async def test_a_block_that_was_reorganised_out(network: EvmNetwork, provider: EvmProvider) -> None:
    wallet = await network.address(3)
    await network.fund(wallet, 5)
    await network.mine()
    (before,) = await provider.balances([BalanceQuery(wallet, network.coin)], Finality.HEAD)
    await network.fork_out(1, forget=True)
    (after,) = await provider.balances([BalanceQuery(wallet, network.coin)], Finality.HEAD)
    assert (before.raw, after.raw) == (5, 0)
    assert before.block is not None
    assert after.block is not None
    assert before.block.number == after.block.number
    assert before.block.id != after.block.id, "the same height, told apart"


async def test_a_block_that_came_while_the_node_read_is_no_lie(network: EvmNetwork, provider: EvmProvider) -> None:
    wallet = await network.address(3)
    await network.fund(wallet, 5)
    await network.mine()
    network.proxy.ahead = 1
    (balance,) = await provider.balances([BalanceQuery(wallet, network.coin)], Finality.HEAD)
    assert balance.raw == 5
    assert balance.block is not None
    assert balance.block.number == await network.node.height() - 1, "asked again, of the block it was asked of"


async def test_a_node_that_reads_other_blocks_is_never_believed(network: EvmNetwork, provider: EvmProvider) -> None:
    await provider.check_network()
    network.proxy.ahead = 10_000
    with pytest.raises(ChainUnavailable, match=r"asked for balances of block \d+ and read block \d+"):
        await provider.balances([BalanceQuery(await network.address(3), network.coin)], Finality.HEAD)


async def test_a_broken_node_is_no_reason_to_blame_the_wallets(network: EvmNetwork, provider: EvmProvider) -> None:
    await provider.check_network()
    network.proxy.plan(ProxyFault.BUSY, "eth_call", None)
    with pytest.raises(ChainUnavailable, match="server busy"):
        await provider.balances([BalanceQuery(await network.address(3), network.coin)] * 20)


@pytest.mark.parametrize(("standing", "eaters"), [(False, 300), (True, 20)])
async def test_too_much_for_one_call_is_halved_and_grows_again(
    network: EvmNetwork, deploy: Deploy, standing: bool, eaters: int
) -> None:
    """Each of these entries burns its 300,000 gas, of which a call has 30 million; Multicall3 gives each all it has."""
    if standing:
        await multicall3.stand(network.node)
    eater = await deploy("GasEater")
    await network.finalize()
    provider = network.provider()
    wallet = await network.address(3)
    balances = await provider.balances([BalanceQuery(wallet, eater)] * eaters + [BalanceQuery(wallet, network.coin)])
    assert all("balanceOf" in (balance.error or "") for balance in balances[:eaters])
    assert balances[eaters].raw == 0
    small = provider._balances.reader.chunk
    assert small < eaters
    for _ in range(3):
        await provider.balances([BalanceQuery(wallet, network.coin)] * 700)
    assert provider._balances.reader.chunk > small
