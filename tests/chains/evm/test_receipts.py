"""Nodes that lack receipts of a block: asked singly, then elsewhere, and nothing else waits for them."""

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.values import BlockContent, Finality, Payment
from tests.chains.evm.proxy import OddNode
from tests.chains.provider.evm_network import EvmNetwork

PAYER = 40


@pytest.fixture
async def block(network: EvmNetwork) -> BlockContent:
    """A final block with three transactions, as it is."""
    for index in (PAYER, PAYER + 1, PAYER + 2):
        await network.fund(await network.address(index), 1_000_000_000)
    await network.mine()
    height = await network.node.height()
    await network.finalize()
    found = await network.provider().block(height, Finality.FINAL)
    assert found is not None
    assert len(found.transactions) == 3
    network.proxy.methods.clear()
    return found


async def test_a_list_without_its_last_receipt_is_completed_singly(
    network: EvmNetwork, provider: EvmProvider, block: BlockContent
) -> None:
    """Erigon on Polygon: the chain stood still at that block."""
    network.proxy.lists_without_last = True
    assert await provider.block(block.block.number, Finality.FINAL) == block
    assert network.proxy.methods.count("eth_getTransactionReceipt") == 1
    assert await provider.receipt_gaps() == {}


async def test_what_one_node_lacks_another_one_has(network: EvmNetwork, block: BlockContent) -> None:
    network.proxy.lost_receipts = {block.transactions[1].txid}
    both = network.provider(network.url, await network.another_node())
    assert await both.block(block.block.number, Finality.FINAL) == block
    (trouble,) = both.troubles().values()
    assert (
        f"lacks 1 of the 3 receipts of block {block.block.number}, {block.transactions[1].txid} among them" in trouble
    )


async def test_what_no_node_has_keeps_none_of_the_others_waiting(
    network: EvmNetwork, provider: EvmProvider, block: BlockContent
) -> None:
    first, second, third = block.transactions
    network.proxy.lost_receipts = {second.txid}
    found = await provider.block(block.block.number, Finality.FINAL)
    assert found is not None
    assert (found.transactions, found.unreadable) == ((first, third), {second.txid})
    assert network.time.slept == []


async def test_a_node_without_any_receipt_of_a_block_is_no_answer(
    network: EvmNetwork, provider: EvmProvider, block: BlockContent
) -> None:
    network.proxy.lost_receipts = {one.txid for one in block.transactions}
    with pytest.raises(ChainUnavailable, match=f"has no receipts of block {block.block.number}"):
        await provider.block(block.block.number, Finality.FINAL)


async def test_gaps_are_found_in_the_newest_block_that_has_transactions(
    network: EvmNetwork, block: BlockContent
) -> None:
    second = await network.stack.enter_async_context(OddNode.before(network.node.url))
    both = network.provider(network.url, second.url)
    await network.mine(5)
    network.proxy.lost_receipts = {block.transactions[0].txid}
    second.lost_receipts = {one.txid for one in block.transactions}
    gaps = await both.receipt_gaps()
    assert {name: gap.everything for name, gap in gaps.items()} == {network.url: False, second.url: True}
    assert f"lacks 1 of the 3 receipts of block {block.block.number}" in gaps[network.url].said


async def test_a_payment_is_found_by_the_node_that_has_its_receipt(network: EvmNetwork, block: BlockContent) -> None:
    payer = await network.address(PAYER)
    provider = network.provider(network.url, await network.another_node())
    payment = Payment(payer, await network.address(9), network.coin, 5)
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    network.proxy.lost_receipts = {signed.txid}
    network.proxy.pinned["eth_getTransactionReceipt"] = {"blockNumber": "0x", "transactionHash": signed.txid}
    found = await provider.find(signed.txid, Finality.FINAL)
    assert found is not None
    assert found.did(payment)
    assert network.url in provider.troubles()
