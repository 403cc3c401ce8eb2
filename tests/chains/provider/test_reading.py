"""Every provider: networks, blocks and balances."""

import pytest

from pipeline.chains.errors import ChainUnavailable, InvalidAddress, WrongNetwork
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, BalanceQuery, Finality
from tests.chains.provider.network import TestNetwork


async def test_the_right_network_passes(network: TestNetwork, provider: Provider) -> None:
    await provider.check_network()


async def test_another_network_is_refused_by_name(network: TestNetwork) -> None:
    elsewhere = await network.another_network()
    provider = network.provider(elsewhere)
    with pytest.raises(WrongNetwork, match=elsewhere):
        await provider.check_network()
    with pytest.raises(WrongNetwork, match=elsewhere):
        await provider.block_ref(Finality.HEAD)
    with pytest.raises(WrongNetwork, match=elsewhere):
        await network.provider(network.url, elsewhere).check_network()


async def test_a_node_that_is_down_is_borne_but_not_all_of_them(network: TestNetwork) -> None:
    nowhere = "http://127.0.0.1:1"
    provider = network.provider(nowhere, network.url)
    await provider.check_network()
    assert (await provider.block_ref(Finality.HEAD)).number > 0
    with pytest.raises(ChainUnavailable, match=nowhere):
        await network.provider(nowhere).check_network()


async def test_head_is_ahead_of_final(network: TestNetwork, provider: Provider) -> None:
    await network.mine(network.finality_depth)
    head, final = await provider.block_ref(Finality.HEAD), await provider.block_ref(Finality.FINAL)
    assert head.number - final.number == network.finality_depth
    assert head.timestamp > final.timestamp
    await network.mine()
    assert (await provider.block_ref(Finality.FINAL)).number == final.number + 1


async def test_blocks_are_a_chain_and_end(network: TestNetwork, provider: Provider) -> None:
    head, final = await provider.block_ref(Finality.HEAD), await provider.block_ref(Finality.FINAL)
    parent = None
    for number in range(1, head.number + 1):
        content = await provider.block(number, Finality.HEAD)
        assert content is not None
        assert content.block.number == number
        assert parent is None or content.parent_id == parent
        parent = content.block.id
        at_final = await provider.block(number, Finality.FINAL)
        assert (at_final == content) if number <= final.number else (at_final is None)
    assert parent == head.id
    assert await provider.block(head.number + 1, Finality.HEAD) is None


async def test_a_block_shows_every_payment_of_it(network: TestNetwork, provider: Provider) -> None:
    receivers = [await network.address(index) for index in range(20, 25)]
    for number, receiver in enumerate(receivers, start=1):
        await network.fund(receiver, number * 1_000_000, tokens=number)
    await network.mine()
    content = await provider.block((await provider.block_ref(Finality.HEAD)).number, Finality.HEAD)
    assert content is not None
    assert len(content.transactions) == 10
    effects = [effect for one in content.transactions for effect in one.effects]
    moved = {(effect.contract, effect.receiver, effect.amount) for effect in effects}
    assert moved == {
        (contract, receiver, amount)
        for number, receiver in enumerate(receivers, start=1)
        for contract, amount in ((None, number * 1_000_000), (network.token.contract, number))
    }
    assert all(one.success and one.block == content.block for one in content.transactions)
    # A log's place is the one in its receipt, wherever its transaction stands in the block.
    assert {(effect.contract is None, effect.place) for effect in effects} == {(True, "v"), (False, "l0")}


async def test_final_balances_are_behind_head(network: TestNetwork, provider: Provider) -> None:
    wallet = await network.address(30)
    queries = [BalanceQuery(wallet, network.coin), BalanceQuery(wallet, network.token)]
    await network.fund(wallet, 7_000_000, tokens=250_000_000)
    await network.mine()
    head, final = await provider.balances(queries, Finality.HEAD), await provider.balances(queries)
    assert [balance.raw for balance in head] == [7_000_000, 250_000_000]
    assert [balance.raw for balance in final] == [0, 0]
    assert {balance.block for balance in head} == {await provider.block_ref(Finality.HEAD)}
    assert {balance.block for balance in final} == {await provider.block_ref(Finality.FINAL)}
    await network.finalize()
    assert [balance.raw for balance in await provider.balances(queries)] == [7_000_000, 250_000_000]


async def test_balances_name_the_block_they_were_read_at(network: TestNetwork, provider: Provider) -> None:
    query = BalanceQuery(await network.address(32), network.coin)
    for _ in range(3):
        await network.mine()
        for finality in Finality:
            (balance,) = await provider.balances([query], finality)
            assert balance.block == await provider.block_ref(finality)
    await network.fork_out(1, forget=True)
    (balance,) = await provider.balances([query], Finality.HEAD)
    assert balance.block == await provider.block_ref(Finality.HEAD), "the head at that height is another one now"


async def test_many_balances_keep_their_order_and_their_block(network: TestNetwork, provider: Provider) -> None:
    wallets = [await network.address(index) for index in range(100, 180)]
    for number, wallet in enumerate(wallets[:10], start=1):
        await network.fund(wallet, number * 1_000_000, tokens=number)
    await network.finalize()
    queries = [BalanceQuery(wallet, asset) for wallet in reversed(wallets) for asset in (network.token, network.coin)]
    balances = await provider.balances(queries)
    assert len(balances) == len(queries)
    for query, balance in zip(queries, balances, strict=True):
        assert balance.raw == await network.truth(query.address, query.asset, final=True)
        assert balance.error is None
    assert len({balance.block for balance in balances}) == 1
    assert await provider.balances(list(reversed(queries))) == list(reversed(balances))


async def test_bad_entries_fail_alone(network: TestNetwork, provider: Provider) -> None:
    wallet = await network.address(31)
    await network.fund(wallet, 3_000_000, tokens=5)
    await network.finalize()
    mistyped = wallet[:-1] + ("a" if wallet[-1] != "a" else "b")
    nothing_there = Asset("NONE", 6, await network.address(77))
    balances = await provider.balances(
        [
            BalanceQuery("invalid", network.coin),
            BalanceQuery(wallet, network.coin),
            BalanceQuery(mistyped, network.token),
            BalanceQuery(wallet, nothing_there),
            BalanceQuery(wallet, Asset("BAD", 6, "invalid")),
            BalanceQuery(wallet, network.token),
        ]
    )
    assert [balance.raw for balance in balances] == [None, 3_000_000, None, None, None, 5]
    errors = [balance.error for balance in balances]
    assert errors[1] is None
    assert errors[5] is None
    assert "invalid" in (errors[0] or "")
    assert "checksum" in (errors[2] or "")
    assert f"{nothing_there.contract} is not a contract" in (errors[3] or "")
    assert "invalid" in (errors[4] or "")


async def test_no_queries_no_balances(network: TestNetwork, provider: Provider) -> None:
    assert await provider.balances([]) == []


async def test_only_bad_entries_ask_no_node(network: TestNetwork) -> None:
    provider = network.provider("http://127.0.0.1:1")
    (balance,) = await provider.balances([BalanceQuery("invalid", network.coin)])
    assert balance.error is not None


async def test_addresses(network: TestNetwork, provider: Provider) -> None:
    wallet = await network.address(0)
    assert provider.codec.validate_address(wallet) == wallet
    with pytest.raises(InvalidAddress, match="empty"):
        provider.codec.validate_address("")
    with pytest.raises(InvalidAddress, match="checksum"):
        provider.codec.validate_address(wallet[:-1] + ("a" if wallet[-1] != "a" else "b"))
