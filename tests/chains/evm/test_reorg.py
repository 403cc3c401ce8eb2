"""A reorg takes blocks back: what was in them is sent again byte for byte, and only what is final counts."""

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.values import BroadcastOutcome, Finality, Payment, Proof
from tests.chains.provider.evm_network import EvmNetwork

PAYER, RECEIVER = 40, 41


@pytest.fixture
async def payment(network: EvmNetwork) -> Payment:
    payer = await network.address(PAYER)
    await network.fund(payer, 1_000_000_000, tokens=1_000)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), network.token, 1_000)


async def test_identical_bytes_land_again(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.mine()
    first = await provider.find(signed.txid, Finality.HEAD)
    assert first is not None
    await network.fork_out(1, forget=True)
    assert await provider.find(signed.txid, Finality.HEAD) is None
    assert (await provider.verdict(signed)).proof is Proof.OPEN
    await network.mine(network.finality_depth + 2)
    assert (await provider.verdict(signed)).proof is Proof.OPEN, "forgotten by everybody is not dead"
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.FINAL
    assert verdict.result is not None
    assert verdict.result.did(payment)
    assert verdict.result.block != first.block
    assert await network.times_paid(payment) == 1


async def test_balances_and_blocks_of_final_are_untouched(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    final = await provider.block_ref(Finality.FINAL)
    content = await provider.block(final.number, Finality.FINAL)
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.mine()
    await network.fork_out(1, forget=True)
    assert await provider.block(final.number, Finality.FINAL) == content
    assert (await provider.sender_nonces(payment.sender)).latest == 0, "the nonce is free again"


async def test_a_receipt_of_a_block_that_is_gone_is_not_believed(network: EvmNetwork, payment: Payment) -> None:
    """A node in the middle of a reorg: the receipt says one block, the height has another."""
    provider = network.provider()
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.mine()
    receipt = await network.node.call("eth_getTransactionReceipt", signed.txid)
    network.proxy.pinned["eth_getTransactionReceipt"] = {**receipt, "blockHash": "0x" + "11" * 32}
    with pytest.raises(ChainUnavailable, match="and now 0x"):
        await provider.find(signed.txid, Finality.HEAD)
    network.proxy.pinned.clear()
    assert await provider.find(signed.txid, Finality.HEAD) is not None
