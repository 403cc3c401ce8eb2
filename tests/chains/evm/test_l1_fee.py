"""What rollups charge for L1: told beforehand, paid, and recorded as paid. On anvil, which charges it as they do."""

from collections.abc import AsyncIterator

import pytest

from pipeline.chains.errors import ChainUnavailable, FeeCapTooLow, InsufficientFunds
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.evm.rpc import blocks
from pipeline.chains.evm.rpc.fees import FeePolicy, with_margin
from pipeline.chains.evm.rpc.l1_fee import LOOKED_FOR_SECONDS, ORACLE
from pipeline.chains.values import Finality, Payment, Proof
from tests.building import build, bump
from tests.chains.evm.rollup import Rollup, rollup
from tests.chains.provider.evm_network import EvmNetwork, evm_network

PAYER, RECEIVER = 40, 41
L1 = 10_000_000
"""Wei: fifty times what the gas of a coin transfer costs here."""
SCALAR, CONSTANT = 2_000_000, 777


@pytest.fixture
async def chain() -> AsyncIterator[Rollup]:
    async with rollup() as running:
        yield running


async def paying(network: EvmNetwork, coins: int = 10**12, *, tokens: int = 0) -> Payment:
    payer = await network.address(PAYER)
    await network.fund(payer, coins, tokens)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), network.token if tokens else network.coin, tokens or 1_000)


async def paid(network: EvmNetwork, provider: EvmProvider, payment: Payment) -> tuple[int, int, int]:
    """Make a payment. What it was expected to cost at the most, what it cost the payer, and what is recorded."""
    held = await network.node.balance(payment.sender, None, "latest")
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.mine()
    await network.finalize()
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.FINAL
    assert verdict.result is not None
    assert verdict.result.did(payment)
    content = await provider.block(verdict.result.block.number, Finality.FINAL)
    assert content is not None
    assert content.transactions == (verdict.result,), "by the block as by the receipt"
    spent = held - await network.node.balance(payment.sender, None, "latest")
    return signed.fee_cap, spent - (payment.amount if payment.asset.is_native else 0), verdict.result.fee


@pytest.mark.parametrize("tokens", [0, 250_000_000])
async def test_it_is_reckoned_with_paid_and_recorded(chain: Rollup, tokens: int) -> None:
    payment = await paying(chain.network, tokens=tokens)
    await chain.charge(L1, scalar=SCALAR, constant=CONSTANT)
    provider = chain.network.provider()
    estimate = await provider.estimate(payment)
    assert estimate.l1_fee == with_margin(L1 + estimate.gas_limit * SCALAR // 10**6 + CONSTANT, 50)
    assert estimate.fee == estimate.gas_limit * estimate.max_fee + estimate.l1_fee == estimate.highest
    cap, cost, recorded = await paid(chain.network, provider, payment)
    assert cap == estimate.fee
    assert recorded == cost
    assert L1 < cost < cap


async def test_a_sender_that_lacks_it_is_told_what_is_missing(chain: Rollup) -> None:
    """Without it the chain would take the transaction never, and the sender's line would stand."""
    payment = await paying(chain.network, 1_000 + 21_000 * 20 + L1)
    await chain.charge(L1)
    with pytest.raises(InsufficientFunds) as short:
        await chain.network.provider().estimate(payment)
    assert short.value.needed == 1_000 + 21_000 * 20 + L1 * 150 // 100
    await chain.charge(L1, told=L1 * 2 // 3)
    provider = chain.network.provider()
    _, cost, recorded = await paid(chain.network, provider, payment)
    assert cost == recorded


async def test_the_oracle_is_asked_about_the_very_bytes(chain: Rollup) -> None:
    payment = await paying(chain.network)
    await chain.store(ORACLE, 1, (10**6).to_bytes(32, "big"))
    provider = chain.network.provider(policy=FeePolicy(cap=20, l1_margin_percent=0))
    estimate = await provider.estimate(payment)
    unsigned = await build(provider, payment, estimate, 0, 2**32 - 1)
    assert estimate.l1_fee == (len(unsigned.raw) + 68) * 10**6
    assert unsigned.fee_cap == estimate.fee
    assert provider.codec.renumber(unsigned, 7).fee_cap == estimate.fee


async def test_a_replacement_reckons_with_what_l1_costs_by_then(chain: Rollup) -> None:
    payment = await paying(chain.network)
    provider = chain.network.provider()
    first = await chain.network.sign(provider, payment, PAYER)
    await chain.charge(L1)
    l1_fee = (await provider.prepare_replacement(first)).l1_fee
    assert l1_fee == L1 * 150 // 100
    bumped = await bump(provider, first)
    assert bumped.fee_cap > first.fee_cap * 115 // 100 + l1_fee - 1
    assert (await bump(provider, first, affordable=bumped.fee_cap)).fee_cap == bumped.fee_cap
    with pytest.raises(FeeCapTooLow, match="what its sender holds"):
        await bump(provider, first, affordable=first.fee_cap + l1_fee)


async def test_an_oracle_that_knows_no_operator_fee() -> None:
    async with rollup("OldL1FeeOracle") as chain:
        payment = await paying(chain.network)
        estimate = await chain.network.provider().estimate(payment)
        assert 0 < estimate.l1_fee < 200


async def test_a_contract_in_its_place_that_is_none() -> None:
    """Then nobody knows what a transaction costs: nothing is sent before somebody says."""
    async with rollup("NoToken") as chain:
        payment = await paying(chain.network)
        with pytest.raises(ChainUnavailable, match=r"anvil\.fees\.l1_oracle"):
            await chain.network.provider().estimate(payment)
        silent = chain.network.provider(policy=FeePolicy(cap=20, l1_oracle="none"))
        assert (await silent.estimate(payment)).l1_fee == 0


async def test_an_oracle_somewhere_else(chain: Rollup) -> None:
    elsewhere = "0x5300000000000000000000000000000000000002"
    await chain.node.call("anvil_setCode", elsewhere, await chain.node.call("eth_getCode", ORACLE, "latest"))
    await chain.store(elsewhere, 0, (5_000).to_bytes(32, "big"))
    payment = await paying(chain.network)
    policy = FeePolicy.parse({"cap": 20, "l1_oracle": elsewhere})
    assert (await chain.network.provider(policy=policy).estimate(payment)).l1_fee == 7_500


async def test_a_chain_that_becomes_a_rollup_is_noticed() -> None:
    async with rollup(None) as chain:
        payment = await paying(chain.network)
        provider = chain.network.provider()
        for _ in range(3):
            assert (await provider.estimate(payment)).l1_fee == 0
        assert chain.proxy.methods.count("eth_getCode") == 1, "it is looked for once in a while"
        await chain.node.call("anvil_setCode", ORACLE, "0x3660005260206000f3")
        chain.network.time.now += LOOKED_FOR_SECONDS
        assert (await provider.estimate(payment)).l1_fee > 0


async def test_arbitrums_part_for_l1_is_inside_the_gas_and_not_added_twice() -> None:
    async with evm_network() as network:
        payment = await paying(network)
        provider = network.provider()
        signed = await network.sign(provider, payment, PAYER)
        await provider.broadcast(signed)
        await network.finalize()
        receipt = await network.node.call("eth_getTransactionReceipt", signed.txid)
        network.proxy.pinned["eth_getTransactionReceipt"] = {
            **receipt,
            "gasUsedForL1": "0x2710",
            "l1BlockNumber": "0x1",
        }
        found = await provider.find(signed.txid, Finality.FINAL)
        assert found is not None
        assert found.fee == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)


@pytest.mark.parametrize(
    ("named", "fee"),
    [
        ({}, 0),
        ({"l1Fee": "0x64"}, 100),
        ({"l1Fee": "0x64", "operatorFeeScalar": "0x1e8480", "operatorFeeConstant": "0x5"}, 100 + 42_000 + 5),
        (
            {
                "l1Fee": "0x64",
                "operatorFeeScalar": "0x3",
                "operatorFeeConstant": "0x5",
                "daFootprintGasScalar": "0x190",
            },
            100 + 21_000 * 3 * 100 + 5,
        ),
    ],
    ids=["none", "Bedrock to Holocene", "Isthmus", "Jovian"],
)
def test_a_receipts_fees_by_upgrade(named: dict[str, str], fee: int) -> None:
    assert blocks.l1_fee.paid(named, 21_000) == fee
