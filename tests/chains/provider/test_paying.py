"""Every provider: from an estimate to a settled payment, and every way in which it does not come to that."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.chains.errors import (
    BadSignature,
    InconsistentNode,
    InsufficientFunds,
    InvalidAddress,
    NotAToken,
    SimulationFailed,
    UndecodableTransaction,
)
from pipeline.chains.fees import TronFee
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, BroadcastOutcome, Finality, Payment, Proof, SignedTransaction
from pipeline.units import to_human
from tests.building import build
from tests.chains.provider.network import TestNetwork, Trouble

PAYER, RECEIVER, SECOND_RECEIVER = 40, 41, 42


@pytest.fixture(params=["coin", "token"])
async def payment(request: pytest.FixtureRequest, network: TestNetwork) -> Payment:
    """A payment that the payer can make: of the coin, and of the token."""
    payer = await network.address(PAYER)
    await network.fund(payer, 100_000_000, tokens=1_000_000_000)
    await network.finalize()
    asset = network.coin if request.param == "coin" else network.token
    return Payment(payer, await network.address(RECEIVER), asset, 12_345_678)


async def sent(network: TestNetwork, provider: Provider, payment: Payment, lifetime: float = 180) -> SignedTransaction:
    """Signed and pooled."""
    signed = await network.sign(provider, payment, PAYER, lifetime)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    return signed


async def test_a_payment_from_estimate_to_final(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    estimate = await provider.estimate(payment)
    signed = await network.sign(provider, payment, PAYER)
    assert signed.sender == payment.sender
    assert provider.codec.decode(signed.raw) == payment

    before = await network.truth(payment.sender, network.coin, final=False)
    reply = await provider.broadcast(signed)
    assert reply.outcome is BroadcastOutcome.ACCEPTED, reply
    assert await provider.find(signed.txid, Finality.HEAD) is None, "pooled is not found"
    assert (await provider.verdict(signed)).proof is Proof.OPEN

    await network.mine()
    found = await provider.find(signed.txid, Finality.HEAD)
    assert found is not None
    assert found.txid == signed.txid
    assert found.did(payment)
    assert found.block == await provider.block_ref(Finality.HEAD)
    assert await provider.find(signed.txid, Finality.FINAL) is None
    assert (await provider.verdict(signed)).proof is Proof.OPEN

    await network.mine(network.finality_depth)
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.FINAL
    assert verdict.result == found == await provider.find(signed.txid, Finality.FINAL)
    content = await provider.block(found.block.number, Finality.FINAL)
    assert content is not None
    assert found in content.transactions

    assert await network.times_paid(payment) == 1
    assert found.fee <= estimate.fee
    assert found.fee <= signed.fee_cap
    moved = payment.amount if payment.asset.is_native else 0
    assert before - await network.truth(payment.sender, network.coin, final=True) == moved + found.fee


async def test_other_payments_are_not_this_one(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    signed = await sent(network, provider, payment)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    elsewhere = await network.address(SECOND_RECEIVER)
    assert not result.did(replace(payment, amount=payment.amount + 1))
    assert not result.did(replace(payment, receiver=elsewhere))
    assert not result.did(replace(payment, sender=elsewhere))
    assert not result.did(replace(payment, asset=network.token if payment.asset.is_native else network.coin))


async def test_the_estimate_is_enough_to_the_unit(network: TestNetwork, provider: Provider) -> None:
    """A wallet that holds exactly the estimated fee can move its tokens, the free allowance used up or not."""
    payer = await network.address(PAYER)
    await network.fund(payer, 1_000_000, tokens=30)
    await network.finalize()
    for turn in range(3):
        payment = Payment(payer, await network.address(200 + turn), network.token, 10)
        needed = (await provider.estimate(payment)).fee
        held = await network.truth(payer, network.coin, final=False)
        await network.fund(payer, needed - held) if held < needed else None
        await network.mine()
        signed = await sent(network, provider, payment)
        await network.finalize()
        result = (await provider.verdict(signed)).result
        assert result is not None
        assert result.did(payment), result.message


async def test_a_new_account_costs_more(network: TestNetwork, provider: Provider) -> None:
    payer, receiver = await network.address(PAYER), await network.address(RECEIVER)
    await network.fund(payer, 50_000_000)
    await network.finalize()
    payment = Payment(payer, receiver, network.coin, 1_000_000)
    new = await provider.estimate(payment)
    signed = await sent(network, provider, payment)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.fee == new.fee if isinstance(new, TronFee) else 0 < result.fee <= new.fee
    assert (await provider.estimate(payment)).fee <= new.fee


async def test_too_little_of_the_coin(network: TestNetwork, provider: Provider) -> None:
    payer = await network.address(PAYER)
    await network.fund(payer, 3_000_000)
    await network.finalize()
    payment = Payment(payer, await network.address(RECEIVER), network.coin, 3_000_000)
    needed = 3_000_000 + (await provider.estimate(replace(payment, amount=1))).fee
    held_text, needed_text = (to_human(raw, network.coin.decimals) for raw in (3_000_000, needed))
    told = f"{payer} holds {held_text} .* and needs {needed_text} "
    with pytest.raises(InsufficientFunds, match=told) as caught:
        await provider.estimate(payment)
    assert (caught.value.address, caught.value.held, caught.value.needed) == (payer, 3_000_000, needed)


async def test_a_token_transfer_is_priced_before_its_gas_is_there(network: TestNetwork, provider: Provider) -> None:
    payer = await network.address(PAYER)
    await network.fund(payer, 0, tokens=500)
    await network.finalize()
    estimate = await provider.estimate(Payment(payer, await network.address(RECEIVER), network.token, 500))
    assert estimate.fee > 0
    assert estimate.highest >= estimate.fee


async def test_what_would_fail_is_not_estimated(network: TestNetwork, provider: Provider) -> None:
    payer, receiver = await network.address(PAYER), await network.address(RECEIVER)
    await network.fund(payer, 50_000_000, tokens=500)
    await network.finalize()
    with pytest.raises(SimulationFailed, match=f"from {payer} to {receiver} would fail: balance is too low"):
        await provider.estimate(Payment(payer, receiver, network.token, 501))
    with pytest.raises(NotAToken, match=receiver):
        await provider.estimate(Payment(payer, receiver, Asset("NONE", 6, receiver), 1))
    with pytest.raises(InvalidAddress):
        await provider.estimate(Payment(payer, "invalid", network.coin, 1))
    with pytest.raises(ValueError, match="above 0"):
        await provider.estimate(Payment(payer, receiver, network.coin, 0))
    await network.pause_token()
    await network.mine()
    with pytest.raises(SimulationFailed, match="token is paused"):
        await provider.estimate(Payment(payer, receiver, network.token, 1))


async def test_one_that_fails_on_the_chain_is_final_and_did_nothing(network: TestNetwork, provider: Provider) -> None:
    payer, receiver = await network.address(PAYER), await network.address(RECEIVER)
    await network.fund(payer, 50_000_000, tokens=500)
    await network.finalize()
    payment = Payment(payer, receiver, network.token, 500)
    signed = await network.sign(provider, payment, PAYER)
    await network.pause_token()
    await network.mine()
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.FINAL
    assert verdict.result is not None
    assert not verdict.result.success
    assert not verdict.result.did(payment)
    assert verdict.result.effects == ()
    assert verdict.result.fee > 0
    assert "REVERT" in verdict.result.message
    assert await network.times_paid(payment) == 0


async def test_the_same_bytes_again_pay_once(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    signed = await sent(network, provider, payment)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.KNOWN
    await network.mine()
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.KNOWN
    second = network.provider(await network.another_node())
    assert (await second.broadcast(signed)).outcome is BroadcastOutcome.KNOWN
    await network.finalize()
    assert await network.times_paid(payment) == 1


async def test_a_node_that_does_it_twice_pays_once(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    signed = await network.sign(provider, payment, PAYER)
    await network.trouble(Trouble.REPLIED_TWICE, sending=True)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.KNOWN
    await network.finalize()
    assert (await provider.verdict(signed)).proof is Proof.FINAL
    assert await network.times_paid(payment) == 1


async def test_equal_payments_of_one_moment_are_two(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    payment = replace(payment, amount=1_000_000)
    pair = await asyncio.gather(*(network.sign(provider, payment, PAYER) for _ in range(2)))
    assert pair[0].txid != pair[1].txid
    for signed in pair:
        assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    assert await network.times_paid(payment) == 2


async def test_an_answer_lost_on_the_way_is_unknown_and_the_payment_lands(
    network: TestNetwork, provider: Provider, payment: Payment
) -> None:
    signed = await network.sign(provider, payment, PAYER)
    await network.trouble(Trouble.NO_REPLY, sending=True)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.UNKNOWN
    await network.finalize()
    assert (await provider.verdict(signed)).proof is Proof.FINAL
    assert await network.times_paid(payment) == 1


@pytest.mark.parametrize(
    "trouble", [Trouble.NO_REQUEST, Trouble.BUSY, Trouble.HTML, Trouble.TOO_MANY, Trouble.SUSPENDED]
)
async def test_what_never_arrived_is_unknown_and_sent_again(
    network: TestNetwork, provider: Provider, trouble: Trouble
) -> None:
    payer = await network.address(PAYER)
    await network.fund(payer, 100_000_000)
    await network.finalize()
    payment = Payment(payer, await network.address(RECEIVER), network.coin, 1_000_000)
    signed = await network.sign(provider, payment, PAYER)
    await network.trouble(trouble, sending=True)
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.UNKNOWN
    assert network.time.slept == [], "a broadcast does not wait and try again by itself"
    await network.calm()
    network.time.now += 60
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    assert await network.times_paid(payment) == 1


async def test_a_false_txid_is_named_a_lie(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    signed = await network.sign(provider, payment, PAYER)
    await network.trouble(Trouble.FALSE_TXID, sending=True)
    with pytest.raises(InconsistentNode, match=signed.txid):
        await provider.broadcast(signed)
    await network.finalize()
    assert (await provider.verdict(signed)).proof is Proof.FINAL, "it landed all the same"
    await network.trouble(Trouble.FALSE_TXID, count=None)
    with pytest.raises(InconsistentNode):
        await provider.find(signed.txid, Finality.FINAL)


async def test_an_expired_one_is_dead_only_when_final_blocks_prove_it(
    network: TestNetwork, provider: Provider, payment: Payment
) -> None:
    signed = await sent(network, provider, payment, lifetime=120)
    if not network.expires or signed.expiration is None:
        pytest.skip("transactions of this chain do not expire")
    await network.hold_pending()
    await network.mine(network.finality_depth + 1)
    assert (await provider.verdict(signed)).proof is Proof.OPEN
    await network.pass_time(300)
    assert (await provider.verdict(signed)).proof is Proof.OPEN, "no block shows the time yet"
    await network.mine(network.finality_depth)
    head, final = await provider.block_ref(Finality.HEAD), await provider.block_ref(Finality.FINAL)
    assert head.timestamp > signed.expiration > final.timestamp
    assert (await provider.verdict(signed)).proof is Proof.OPEN, "the head proves nothing"
    await network.mine()
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.DEAD, verdict.evidence
    assert network.url in verdict.evidence
    reply = await network.provider(await network.another_node()).broadcast(signed)
    assert reply.outcome is BroadcastOutcome.OUTDATED
    await network.finalize()
    assert await network.times_paid(payment) == 0


async def test_one_in_the_last_possible_block_is_not_called_dead(
    network: TestNetwork, provider: Provider, payment: Payment
) -> None:
    signed = await sent(network, provider, payment, lifetime=120)
    await network.mine()
    await network.pass_time(1000)
    await network.mine(network.finality_depth)
    assert (await provider.verdict(signed)).proof is Proof.FINAL


async def test_a_stale_node_proves_nobody_dead(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    signed = await network.sign(provider, payment, PAYER, lifetime=120)
    await network.freeze()
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED, "a stale node takes it and keeps it"
    await network.doom(signed, PAYER)
    await network.mine(network.finality_depth)
    assert (await provider.verdict(signed)).proof is Proof.OPEN
    second = network.provider(await network.another_node())
    assert (await second.verdict(signed)).proof is Proof.DEAD
    assert await network.times_paid(payment) == 0


async def test_a_fork_takes_it_out_and_in_again(network: TestNetwork, provider: Provider, payment: Payment) -> None:
    signed = await sent(network, provider, payment)
    await network.mine()
    assert await provider.find(signed.txid, Finality.HEAD) is not None
    await network.fork_out(1, forget=False)
    assert await provider.find(signed.txid, Finality.HEAD) is None
    assert (await provider.verdict(signed)).proof is Proof.OPEN
    await network.mine()
    found = await provider.find(signed.txid, Finality.HEAD)
    assert found is not None
    assert found.block == await provider.block_ref(Finality.HEAD)
    await network.finalize()
    assert await network.times_paid(payment) == 1


async def test_one_that_a_node_only_remembers_is_known_and_open(
    network: TestNetwork, provider: Provider, payment: Payment
) -> None:
    """DUP proves nothing: the network lost the transaction, the node still says that it knows it."""
    signed = await sent(network, provider, payment)
    await network.lose_pending()
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.KNOWN
    await network.mine(network.finality_depth + 1)
    assert (await provider.verdict(signed)).proof is Proof.OPEN
    assert await network.times_paid(payment) == 0
    second = network.provider(network.url, await network.another_node())
    await network.trouble(Trouble.NO_REQUEST, sending=True)
    assert (await second.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED, "the second node heard it first"
    await network.finalize()
    assert await network.times_paid(payment) == 1


async def test_only_the_senders_signature_is_attached(
    network: TestNetwork, provider: Provider, payment: Payment
) -> None:
    unsigned = await network.build(provider, payment, await provider.estimate(payment))
    assert provider.codec.decode(unsigned.raw, payment.sender) == payment
    with pytest.raises(UndecodableTransaction):
        provider.codec.decode((await network.sign(provider, payment, PAYER)).raw, payment.receiver)
    with pytest.raises(BadSignature, match=r"is from|recovers"):
        await network.sign(provider, payment, RECEIVER)
    for bad in (bytes(65), b"\xff" * 65, b"short"):
        with pytest.raises(BadSignature):
            provider.codec.attach(unsigned, bad)


async def test_what_is_not_one_of_our_assets_is_not_decoded(
    network: TestNetwork, provider: Provider, payment: Payment
) -> None:
    signed = await network.sign(provider, payment, PAYER)
    for bad in (b"", b"\x00", signed.raw[:-1], signed.raw + b"\x00", signed.raw + signed.raw):
        with pytest.raises(UndecodableTransaction):
            provider.codec.decode(bad)


@pytest.mark.parametrize("lifetime", [0, -1, 24 * 3600])
async def test_lifetimes_that_the_chain_refuses(
    network: TestNetwork, provider: Provider, payment: Payment, lifetime: float
) -> None:
    if not network.expires:
        pytest.skip("transactions of this chain do not expire")
    with pytest.raises(ValueError, match="lifetime"):
        await build(provider, payment, await provider.estimate(payment), lifetime)
