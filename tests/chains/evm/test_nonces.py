"""Nonces: counted, pipelined, replaced, filled, and used by somebody else."""

from dataclasses import replace

import pytest

from pipeline.chains.errors import FeeCapTooLow, UndecodableTransaction
from pipeline.chains.evm.codec import transaction
from pipeline.chains.evm.provider import EvmProvider, SenderNonces
from pipeline.chains.evm.rpc.fees import GWEI, FeePolicy
from pipeline.chains.values import BroadcastOutcome, Family, Payment, Proof, SignedTransaction, UnsignedTransaction
from pipeline.local.anvil_proxy import ProxyFault
from tests.building import build, bump
from tests.chains.provider.evm_network import EvmNetwork, evm_network

PAYER, RECEIVER = 40, 41
HUNDRED = 100


@pytest.fixture
async def payment(network: EvmNetwork) -> Payment:
    payer = await network.address(PAYER)
    await network.fund(payer, 1_000_000_000)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), network.coin, 1_000)


async def signed_as(network: EvmNetwork, provider: EvmProvider, unsigned: UnsignedTransaction) -> SignedTransaction:
    return provider.codec.attach(unsigned, network.signer.sign(Family.EVM, PAYER, unsigned.digest))


async def test_a_hundred_payments_in_one_block(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    assert await provider.sender_nonces(payment.sender) == SenderNonces(0, 0, 0)
    payments = [replace(payment, receiver=await network.address(500 + index)) for index in range(HUNDRED)]
    sent = [await network.sign(provider, one, PAYER) for one in payments]
    for signed in sent:
        assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    assert await provider.sender_nonces(payment.sender) == SenderNonces(0, 0, HUNDRED)
    await network.mine()
    assert await provider.sender_nonces(payment.sender) == SenderNonces(0, HUNDRED, HUNDRED)
    await network.finalize()
    assert await provider.sender_nonces(payment.sender) == SenderNonces(HUNDRED, HUNDRED, HUNDRED)
    for one, signed in zip(payments, sent, strict=True):
        result = (await provider.verdict(signed)).result
        assert result is not None
        assert result.did(one)


async def test_a_nonce_is_needed(provider: EvmProvider, payment: Payment) -> None:
    estimate = await provider.estimate(payment)
    with pytest.raises(ValueError, match="needs the sender's nonce"):
        await build(provider, payment, estimate, 180)
    twice = [await build(provider, payment, estimate, 180, 3) for _ in range(2)]
    assert twice[0] == twice[1], "the nonce alone makes two payments two"


async def test_unsigned_bytes_need_a_sender(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    unsigned = await build(provider, payment, await provider.estimate(payment), 180, 0)
    with pytest.raises(UndecodableTransaction, match="do not name their sender"):
        provider.codec.decode(unsigned.raw)
    elsewhere = EvmProvider("other", 1, [*(node.config for node in provider._nodes.all)], [network.coin])
    with pytest.raises(UndecodableTransaction, match="for chain id 31337, this chain's is 1"):
        elsewhere.codec.decode(unsigned.raw, payment.sender)


async def test_a_stuck_one_is_replaced_and_paid_once(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    first = await network.sign(provider, payment, PAYER)
    await provider.broadcast(first)
    bumped = await bump(provider, first)
    assert bumped.payment == payment
    assert bumped.nonce == first.nonce
    assert bumped.ref_block == first.ref_block, "its receipt may be as old as the first one's"
    second = await signed_as(network, provider, bumped)
    old, new = (transaction.decode(transaction.split(one.raw)[0]).fees for one in (first, second))
    assert new.max_fee >= old.max_fee * 1.15
    assert (new.tip or 0) >= (old.tip or 0) * 1.15
    assert (await provider.broadcast(second)).outcome is BroadcastOutcome.ACCEPTED
    assert [verdict.proof for verdict in await provider.verdicts([first, second])] == [Proof.OPEN] * 2
    await network.finalize()
    dead, final = await provider.verdicts([first, second])
    assert (dead.proof, final.proof) == (Proof.DEAD, Proof.FINAL)
    assert "replaced" in dead.evidence
    assert second.txid in dead.evidence
    assert final.result is not None
    assert final.result.did(payment)
    assert await network.times_paid(payment) == 1


async def test_the_first_may_win_all_the_same(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    first = await network.sign(provider, payment, PAYER)
    await provider.broadcast(first)
    second = await signed_as(network, provider, await bump(provider, first))
    await network.mine()
    late = await provider.broadcast(second)
    assert (late.outcome, late.code) == (BroadcastOutcome.REFUSED, "nonce too low")
    again = await provider.broadcast(first)
    assert (again.outcome, again.code) == (BroadcastOutcome.KNOWN, "in a block"), "nonce too low, and its own doing"
    await network.finalize()
    final, dead = await provider.verdicts([first, second])
    assert (final.proof, dead.proof) == (Proof.FINAL, Proof.DEAD)


async def test_a_replacement_that_offers_no_more_is_refused(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    await provider.broadcast(await network.sign(provider, payment, PAYER))
    estimate = await provider.estimate(payment)
    rival = await build(provider, replace(payment, amount=999), estimate, 0, 0)
    reply = await provider.broadcast(await signed_as(network, provider, rival))
    assert (reply.outcome, reply.code) == (BroadcastOutcome.REFUSED, "replacement underpriced"), reply


async def test_replacements_end_at_the_cap(network: EvmNetwork, payment: Payment) -> None:
    provider = network.provider(policy=FeePolicy(cap=20, replacement_cap=24))
    first = await network.sign(provider, payment, PAYER)
    second = await signed_as(network, provider, await bump(provider, first))
    assert (first.fee_cap, second.fee_cap) == (21_000 * 20, 21_000 * 24)
    with pytest.raises(FeeCapTooLow, match="a replacement on anvil needs"):
        await bump(provider, second)


async def test_replacements_end_at_what_the_sender_holds(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    first = await network.sign(provider, payment, PAYER)
    with pytest.raises(FeeCapTooLow, match="or what its sender holds"):
        await bump(provider, first, affordable=21_000 * 23 - 1)
    assert (await bump(provider, first, affordable=21_000 * 23)).fee_cap == 21_000 * 23


async def test_a_nonce_used_outside_is_told_from_a_replacement(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    first = await network.sign(provider, payment, PAYER)
    second = await signed_as(network, provider, await bump(provider, first))
    await network.doom(first, PAYER)
    assert [verdict.proof for verdict in await provider.verdicts([first, second])] == [Proof.OPEN] * 2, "not final yet"
    await network.finalize()
    verdicts = await provider.verdicts([first, second])
    assert [verdict.proof for verdict in verdicts] == [Proof.DEAD] * 2
    assert "it was used outside" in verdicts[0].evidence
    assert f"nonce 0 of {payment.sender} is used at final block" in verdicts[0].evidence
    reply = await provider.broadcast(first)
    assert (reply.outcome, reply.code) == (BroadcastOutcome.REFUSED, "nonce too low")
    assert await network.times_paid(payment) == 0


async def test_a_gap_is_filled_by_a_payment_to_oneself(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    network.nonces[payment.sender] = 1
    waiting = await network.sign(provider, payment, PAYER)
    assert (await provider.broadcast(waiting)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    assert (await provider.sender_nonces(payment.sender)).pending == 0, "it waits for nonce 0"
    filler = replace(payment, receiver=payment.sender, amount=1)
    unsigned = await build(provider, filler, await provider.estimate(filler), 0, 0)
    signed = await signed_as(network, provider, unsigned)
    await provider.broadcast(signed)
    await network.finalize()
    for one, done in ((signed, filler), (waiting, payment)):
        result = (await provider.verdict(one)).result
        assert result is not None
        assert result.did(done)


async def test_verdicts_are_about_one_nonce(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> None:
    pair = [await network.sign(provider, payment, PAYER) for _ in range(2)]
    with pytest.raises(ValueError, match="must share them"):
        await provider.verdicts(pair)


async def test_a_node_without_old_receipts_proves_nobody_dead(
    network: EvmNetwork, provider: EvmProvider, payment: Payment
) -> None:
    """A pruned index answers as for a transaction that never was."""
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    network.proxy.plan(ProxyFault.NO_RECEIPTS, None, None)
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.OPEN
    assert "it has no receipts of block" in verdict.evidence
    network.proxy.calm()
    assert (await provider.verdict(signed)).proof is Proof.FINAL


@pytest.mark.parametrize("legacy", [True, False])
async def test_where_there_is_no_base_fee(legacy: bool) -> None:
    """BSC: base fee 0; a gas price with a floor, replaced like any other."""
    async with evm_network(base_fee=0) as network:
        provider = network.provider(policy=FeePolicy(cap=2 * GWEI, floor=5, legacy=None if legacy else False))
        payer = await network.address(PAYER)
        await network.fund(payer, 10**15)
        await network.finalize()
        payment = Payment(payer, await network.address(RECEIVER), network.coin, 1_000)
        estimate = await provider.estimate(payment)
        assert (estimate.tip is None) is legacy
        signed = await network.sign(provider, payment, PAYER)
        await provider.broadcast(signed)
        await network.finalize()
        result = (await provider.verdict(signed)).result
        assert result is not None
        assert result.did(payment)
        assert 21_000 * 5 <= result.fee <= signed.fee_cap


async def test_a_market_above_the_cap(network: EvmNetwork, payment: Payment) -> None:
    provider = network.provider(policy=FeePolicy(cap=6))
    with pytest.raises(FeeCapTooLow, match=r"the base fee on anvil is 0.000000007 gwei, the cap is 0.000000006"):
        await provider.estimate(payment)
