"""What only TRON has: energy and bandwidth, TAPOS, the batch call and how it is refused."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from pipeline.chains.errors import ChainUnavailable
from pipeline.chains.tron.codec import address, transaction
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, BalanceQuery, BroadcastOutcome, Family, Finality, Payment, Proof
from pipeline.devnet.faults import FaultKind
from tests.building import build
from tests.chains.provider.tron_network import TronNetwork, tron_network

PAYER, RECEIVER = 40, 41
ALWAYS_REVERTS = "60006000fd"
BURNS_EVERYTHING = "fe"
RETURNS_NOTHING = "00"
LOOPS_FOR_EVER = "5b600056"


@pytest.fixture
async def network() -> AsyncIterator[TronNetwork]:
    async with tron_network() as running:
        yield running


@pytest.fixture
def provider(network: TronNetwork) -> TronProvider:
    return network.provider()


@pytest.fixture
async def token_payment(network: TronNetwork) -> Payment:
    payer = await network.address(PAYER)
    await network.fund(payer, 200_000_000, tokens=1_000_000_000)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), network.token, 12_000_000)


async def deploy(network: TronNetwork, provider: TronProvider, runtime: str) -> str:
    """A contract with this code, deployed by ours at PAYER."""
    size = len(runtime) // 2
    creation = f"60{size:02x}600c60003960{size:02x}6000f3" + runtime
    owner = await network.address(PAYER)
    node = provider._nodes.all[0]
    made = await node.call(
        "deploycontract",
        Finality.HEAD,
        {
            "owner_address": address.to_hex(owner),
            "bytecode": creation,
            "abi": [],
            "fee_limit": 100_000_000,
            "name": "x",
        },
    )
    raw = bytes.fromhex(made["raw_data_hex"])
    signature = network.signer.sign(Family.TRON, PAYER, transaction.digest(raw))
    sent = await node.call("broadcasthex", Finality.HEAD, {"transaction": transaction.join(raw, signature).hex()})
    assert sent["result"], sent
    await network.finalize()
    return address.from_hex(made["contract_address"])


async def test_contracts_that_are_no_tokens_fail_alone(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    wallet = token_payment.sender
    strange = [
        Asset("BAD", 6, await deploy(network, provider, runtime))
        for runtime in (ALWAYS_REVERTS, BURNS_EVERYTHING, RETURNS_NOTHING, LOOPS_FOR_EVER)
    ]
    queries = [BalanceQuery(wallet, asset) for asset in (network.token, *strange, network.token)]
    first, *bad, last = await provider.balances(queries)
    assert first.raw == last.raw == 1_000_000_000
    for asset, balance in zip(strange, bad, strict=True):
        assert balance.raw is None
        assert balance.error == f"contract {asset.contract} is not a TRC20: it does not answer balanceOf"


async def test_a_call_that_is_too_much_is_halved_and_the_size_remembered(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    wallets = [await network.address(index) for index in range(100, 160)]
    await network.fund(wallets[33], 5_000_000)
    await network.finalize()
    queries = [BalanceQuery(wallet, network.coin) for wallet in wallets]
    body = {"result": {"code": "CONTRACT_EXE_ERROR", "message": b"CPU timeout for 'MSTORE' operation executing".hex()}}
    await network.devnet.add_fault(FaultKind.FALSE_REPLY, "walletsolidity/triggerconstantcontract", count=2, body=body)
    balances = await provider.balances(queries)
    assert [balance.raw for balance in balances] == [5_000_000 if place == 33 else 0 for place in range(60)]
    assert provider._balances.chunk < 60
    for _ in range(20):
        await provider.balances(queries)
    assert provider._balances.chunk > 60, "and grows again while all goes well"


async def test_a_balance_that_cannot_be_read_at_all_says_why(network: TronNetwork, provider: TronProvider) -> None:
    body = {"result": {"code": "CONTRACT_EXE_ERROR", "message": b"Already Time Out".hex()}}
    await network.devnet.add_fault(FaultKind.FALSE_REPLY, "walletsolidity/triggerconstantcontract", body=body)
    wallet = await network.address(1)
    balances = await provider.balances([BalanceQuery(wallet, network.coin)] * 3)
    assert [balance.error for balance in balances] == ["this balance cannot be read: Already Time Out"] * 3


async def test_a_node_without_constant_calls_is_said_to_be_one(network: TronNetwork, provider: TronProvider) -> None:
    message = b"this node does not support constant".hex()
    body = {"result": {"code": "CONTRACT_VALIDATE_ERROR", "message": message}}
    await network.devnet.add_fault(FaultKind.FALSE_REPLY, "walletsolidity/triggerconstantcontract", body=body)
    with pytest.raises(
        ChainUnavailable, match="refuses to simulate the reading of balances: this node does not support"
    ):
        await provider.balances([BalanceQuery(await network.address(1), network.coin)])


async def test_more_tokens_than_one_call_can_name(network: TronNetwork, provider: TronProvider) -> None:
    wallet = await network.address(1)
    assets = [Asset("NONE", 6, await network.address(1000 + index)) for index in range(300)]
    balances = await provider.balances([BalanceQuery(wallet, asset) for asset in assets])
    assert all("is not a contract" in (balance.error or "") for balance in balances)


async def test_bytes_and_energy_are_mainnets(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    estimate = await provider.estimate(token_payment)
    assert estimate.bandwidth == 0, "the free allowance covers it"
    assert estimate.fee == estimate.fee_limit == estimate.energy * 100
    signed = await network.sign(provider, token_payment, PAYER)
    assert len(signed.raw) + 64 in range(340, 350), "a USDT transfer has about 345 bytes"
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    again = (await provider.estimate(token_payment)).bandwidth
    # A lower fee limit, now that the receiver holds some, may be one byte shorter.
    assert len(signed.raw) + 63 <= again <= len(signed.raw) + 64, "and covers no second one"
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.fee * 115 // 100 == pytest.approx(estimate.fee, abs=100), "15 % are margin"


async def test_a_coin_transfer_pays_by_the_byte_once_the_allowance_is_used(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    payment = Payment(token_payment.sender, token_payment.receiver, network.coin, 1_000_000)
    new = await provider.estimate(payment)
    assert (new.fee, new.activation, new.bandwidth) == (1_100_000, 1_100_000, 0)
    for turn in range(4):
        estimate = await provider.estimate(payment)
        signed = await network.sign(provider, payment, PAYER)
        await provider.broadcast(signed)
        await network.finalize()
        result = (await provider.verdict(signed)).result
        assert result is not None
        assert result.did(payment)
        assert result.fee == estimate.fee
        # The first one is flat and the next two fit the 600 free bytes.
        assert estimate.bandwidth == (0 if turn < 3 else len(signed.raw) + 64)
        assert turn < 3 or estimate.fee == estimate.bandwidth * 1000


async def test_a_first_token_costs_the_receiver_a_slot(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    new = await provider.estimate(token_payment)
    await network.fund(token_payment.receiver, 0, tokens=1)
    await network.mine()
    assert new.energy - (await provider.estimate(token_payment)).energy == 15_000 * 115 // 100


async def test_prices_are_the_chains_and_kept_for_a_minute(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    before = await provider.estimate(token_payment)
    await network.devnet.set_params(energy_fee=420)
    await network.mine()
    assert await provider.estimate(token_payment) == before
    network.time.now += 60
    assert (await provider.estimate(token_payment)).fee_limit == before.energy * 420


async def test_the_dynamic_energy_penalty_is_in_the_estimate(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    plain = await provider.estimate(token_payment)
    await network.devnet.set_params(energy_factor=34_000)
    await network.finalize()
    hot = await provider.estimate(token_payment)
    assert hot.energy == pytest.approx(plain.energy * 4.4, rel=0.001)
    signed = await network.sign(provider, token_payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.did(token_payment)


async def test_energy_of_ones_own_is_not_paid_for_but_counts_for_the_limit(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    paid = await provider.estimate(token_payment)
    await network.devnet.set_params(account_energy=1_000_000)
    await network.mine()
    own = await provider.estimate(token_payment)
    assert own.fee == 0
    assert own.fee_limit == paid.fee_limit
    signed = await network.sign(provider, token_payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.did(token_payment)
    assert result.fee == 0


async def test_out_of_energy_spends_the_fee_limit_and_moves_nothing(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    signed = await network.sign(provider, token_payment, PAYER)
    await network.devnet.set_params(energy_fee=210)
    await network.mine()
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.FINAL
    assert verdict.result is not None
    assert not verdict.result.success
    assert not verdict.result.did(token_payment)
    assert "energy" in verdict.result.message.lower()
    assert 0 < verdict.result.fee <= signed.fee_cap


async def test_the_reference_is_solid_and_the_expiration_is_on_the_chains_clock(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    await network.pass_time(3600)
    await network.mine()
    unsigned = await build(provider, token_payment, await provider.estimate(token_payment), 180)
    head, solid = await provider.block_ref(Finality.HEAD), await provider.block_ref(Finality.FINAL)
    assert head.timestamp - solid.timestamp > timedelta(minutes=59), "the chain is an hour ahead of us"
    assert unsigned.expiration == head.timestamp + timedelta(seconds=180)
    assert unsigned.ref_block == solid.number
    raw = transaction.decode(unsigned.raw)
    assert (raw.ref_block_bytes, raw.ref_block_hash) == transaction.ref_block(solid.id)
    signed = provider.codec.attach(unsigned, network.signer.sign(Family.TRON, PAYER, unsigned.digest))
    assert signed.txid == unsigned.digest.hex()
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED


async def test_signatures_with_27_and_28_are_taken_too(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    unsigned = await build(provider, token_payment, await provider.estimate(token_payment), 180)
    signature = network.signer.sign(Family.TRON, PAYER, unsigned.digest)
    signed = provider.codec.attach(unsigned, signature[:64] + bytes([signature[64] + 27]))
    assert (await provider.broadcast(signed)).outcome is BroadcastOutcome.ACCEPTED
    await network.finalize()
    assert (await provider.verdict(signed)).proof is Proof.FINAL
    assert await network.times_paid(token_payment) == 1


async def test_a_lagging_node_says_open_where_another_says_final(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    signed = await network.sign(provider, token_payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    lagging = (await network.devnet.start_node("lagging", lag=5)).url
    assert (await provider.verdict(signed)).proof is Proof.FINAL
    assert (await network.provider(lagging).verdict(signed)).proof is Proof.OPEN
