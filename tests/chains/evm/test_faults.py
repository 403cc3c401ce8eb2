"""What nodes and vendors do to JSON-RPC, beyond what the shared suite tries on every chain."""

import asyncio

import pytest

from pipeline.chains.errors import ChainUnavailable, InconsistentNode, SimulationFailed
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.values import BroadcastOutcome, Finality, Payment, Proof, SignedTransaction
from pipeline.local.anvil_proxy import SEND, ProxyFault
from tests.chains.evm.conftest import Deploy
from tests.chains.provider.evm_network import CHAIN_ID, FEE_POLICY, EvmNetwork

PAYER, RECEIVER = 40, 41


@pytest.fixture
async def payment(network: EvmNetwork) -> Payment:
    payer = await network.address(PAYER)
    await network.fund(payer, 1_000_000_000, tokens=1_000)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), network.token, 1_000)


async def sent(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> SignedTransaction:
    signed = await network.sign(provider, payment, PAYER)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    return signed


async def test_an_answer_that_comes_too_late_is_unknown(network: EvmNetwork, payment: Payment) -> None:
    hasty = EvmProvider(
        "anvil",
        CHAIN_ID,
        [NodeConfig(network.url, timeout_seconds=0.5)],
        [network.coin, network.token],
        fee_policy=FEE_POLICY,
    )
    signed = await network.sign(hasty, payment, PAYER)
    network.proxy.plan(ProxyFault.LATE, SEND)
    reply = await hasty.broadcast(signed)
    assert (reply.outcome, reply.code) == (BroadcastOutcome.UNKNOWN, "timeout")
    network.proxy.released.set()
    assert (await hasty.broadcast(signed)).outcome is BroadcastOutcome.KNOWN
    await network.finalize()
    assert (await hasty.verdict(signed)).proof is Proof.FINAL
    assert await network.times_paid(payment) == 1
    await hasty.close()


async def test_a_limit_told_by_json_is_obeyed_like_one_told_by_http(network: EvmNetwork, provider: EvmProvider) -> None:
    await provider.check_network()
    network.proxy.plan(ProxyFault.LIMIT)
    assert (await provider.block_ref(Finality.HEAD)).number > 0
    assert network.time.slept
    assert network.time.slept[0] >= 1, "the node is left alone meanwhile"


async def test_a_limit_at_a_broadcast_is_unknown(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    signed = await network.sign(provider, payment, PAYER)
    network.proxy.plan(ProxyFault.LIMIT, SEND)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.UNKNOWN


async def test_a_node_that_takes_no_batches(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    network.proxy.plan(ProxyFault.NO_BATCHES, None, None)
    signed = await sent(network, provider, payment)
    assert (await provider.verdict(signed)).proof is Proof.FINAL
    refused = network.proxy.requests
    await provider.sender_nonces(payment.sender)
    assert network.proxy.requests == refused + 3, "it is not tried again"


async def test_a_node_without_block_receipts(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    signed = await sent(network, provider, payment)
    result = (await provider.verdict(signed)).result
    assert result is not None
    before = await provider.block(result.block.number, Finality.FINAL)
    network.proxy.missing_methods.add("eth_getBlockReceipts")
    assert await provider.block(result.block.number, Finality.FINAL) == before
    network.proxy.methods.clear()
    assert await provider.block(result.block.number, Finality.FINAL) == before
    assert "eth_getBlockReceipts" not in network.proxy.methods


async def test_the_receipt_of_another_transaction_is_refused(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    signed = await sent(network, provider, payment)
    network.proxy.plan(ProxyFault.OTHER_RECEIPT, "eth_getTransactionReceipt")
    with pytest.raises(InconsistentNode, match=f"gave the receipt of .* for transaction {signed.txid}"):
        await provider.find(signed.txid, Finality.FINAL)
    network.proxy.plan(ProxyFault.OTHER_RECEIPT, "eth_getTransactionReceipt")
    with pytest.raises(InconsistentNode):
        await provider.verdict(signed)


async def test_a_stale_node_shows_nothing_newer(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    await network.freeze()
    second = network.provider(await network.another_node())
    signed = await sent(network, second, payment)
    assert (await second.verdict(signed)).proof is Proof.FINAL
    assert await provider.find(signed.txid, Finality.HEAD) is None
    assert (await provider.verdict(signed)).proof is Proof.OPEN
    assert (await provider.sender_nonces(payment.sender)).latest == 0


async def test_a_node_without_overrides_still_estimates(
    network: EvmNetwork, provider: EvmProvider, payment: Payment, deploy: Deploy
) -> None:
    expected = await provider.estimate(payment)
    network.proxy.refuses_overrides = True
    bare = network.provider()
    assert await bare.estimate(payment) == expected
    with pytest.raises(SimulationFailed, match="balance is too low"):
        await bare.estimate(Payment(payment.sender, payment.receiver, network.token, 1_001))
    assert not bare._nodes.all[0].has_overrides


async def test_a_key_in_a_url_is_used_and_never_shown(network: EvmNetwork) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    keyed = EvmProvider(
        "anvil",
        CHAIN_ID,
        [NodeConfig(network.url + "/v3/{key}")],
        [network.coin],
        api_keys=[secret],
        patience=0.1,
    )
    assert (await keyed.block_ref(Finality.HEAD)).number > 0
    assert network.proxy.paths[-1] == f"/v3/{secret}"
    network.proxy.plan(ProxyFault.HTML, None, None)
    with pytest.raises(ChainUnavailable) as caught:
        await keyed.block_ref(Finality.HEAD)
    assert secret not in str(caught.value)
    await keyed.close()


async def test_many_questions_at_once(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    estimates = await asyncio.gather(*(provider.estimate(payment) for _ in range(50)))
    assert len(set(estimates)) == 1
    assert network.proxy.methods.count("eth_feeHistory") == 1, "they share the market's price"
