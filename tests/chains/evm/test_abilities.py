"""Nodes that do not offer what others do: said when a chain is added and by doctor, worked with where that can be."""

from typing import Any

import pytest

from pipeline.chains.evm.provider import EvmProvider, SenderNonces
from tests.chains.evm.proxy import without_tag
from tests.chains.provider.evm_network import EvmNetwork


@pytest.mark.parametrize(
    ("lacks", "what"),
    [
        ({"tag": "finalized"}, ["the block tag finalized", "the block tag finalized for counts of transactions"]),
        (
            {"tag": "finalized", "null": True},
            ["the block tag finalized", "the block tag finalized for counts of transactions"],
        ),
        ({"tag": "pending"}, ["the block tag pending"]),
        ({"tag": "blockHash"}, ["questions about a block by its hash"]),
        ({"method": "eth_feeHistory"}, ["eth_feeHistory"]),
    ],
)
async def test_what_a_node_lacks_is_named(
    network: EvmNetwork, provider: EvmProvider, lacks: dict[str, Any], what: list[str]
) -> None:
    assert await provider.lacks() == {}
    if "method" in lacks:
        network.proxy.missing_methods.add(lacks["method"])
    else:
        without_tag(network.proxy, lacks["tag"], null="null" in lacks)
    (found,) = (await provider.lacks()).values()
    assert [one.what for one in found] == what
    assert all(one.is_essential is (what != ["the block tag pending"]) for one in found)
    assert all(one.said == ("null" if "null" in lacks else one.said) and one.without for one in found)


async def test_a_node_that_answers_nothing_is_left_to_failover(network: EvmNetwork) -> None:
    provider = network.provider("http://127.0.0.1:1", network.url)
    assert await provider.lacks() == {}


@pytest.mark.parametrize("null", [True, False])
async def test_without_a_pool_what_is_in_blocks_is_all_that_is_seen(
    network: EvmNetwork, provider: EvmProvider, null: bool
) -> None:
    payer = await network.address(40)
    await network.fund(payer, 1_000_000_000)
    await network.finalize()
    without_tag(network.proxy, "pending", null=null)
    counted = await provider.sender_nonces(payer)
    assert counted == SenderNonces(0, 0, 0)
    assert counted.seen == 0
