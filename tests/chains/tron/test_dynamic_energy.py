"""Energy grows dearer between the simulation of a payment and its block, and the payment lands."""

import pytest

from pipeline.chains.tron.codec import address
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Finality, Payment, SignedTransaction, TransactionResult
from pipeline.devnet.faults import FaultKind
from tests.chains.provider.tron_network import TronNetwork
from tests.chains.tron.conftest import PAYER

PERIOD_SECONDS = 600


@pytest.fixture
async def busy(network: TronNetwork, token_payment: Payment) -> TronNetwork:
    """The token has used more than the threshold, and the maintenance period ends in a minute."""
    await network.devnet.set_params(maintenance_interval=PERIOD_SECONDS * 1000, dynamic_energy_threshold=10_000)
    await until_the_period_ends(network, 60)
    await network.fund(token_payment.sender, 0, tokens=1)
    await network.finalize()
    return network


async def until_the_period_ends(network: TronNetwork, seconds: float) -> None:
    """So many seconds before (below 0: behind) the end of the period."""
    now = (await network.devnet.status()).now_ms / 1000
    left = PERIOD_SECONDS - now % PERIOD_SECONDS
    await network.pass_time(left - seconds if left > seconds else left + PERIOD_SECONDS - seconds)
    await network.mine()


async def landed(network: TronNetwork, provider: TronProvider, signed: SignedTransaction) -> TransactionResult:
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    return result


async def test_a_step_between_simulation_and_block(
    busy: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    before = await provider.estimate(token_payment)
    signed = await busy.sign(provider, token_payment, PAYER)
    await until_the_period_ends(busy, -1)
    await provider.broadcast(signed)
    result = await landed(busy, provider, signed)
    assert result.message == ""
    assert result.did(token_payment)
    assert before.fee >= result.fee, "who was given the estimated fee can pay it"
    assert result.fee > before.energy * 100 * 100 // 126, "the step came: 15 % would not have been enough"


async def test_steps_up_to_the_most(busy: TronNetwork, provider: TronProvider, token_payment: Payment) -> None:
    """The factor rises period by period; each payment is priced just before a step and lands behind it."""
    factors = []
    for _ in range(4):
        signed = await busy.sign(provider, token_payment, PAYER)
        await until_the_period_ends(busy, -1)
        await provider.broadcast(signed)
        assert (await landed(busy, provider, signed)).did(token_payment)
        info = await provider._nodes.all[0].call("getcontractinfo", Finality.HEAD, {"value": _hex(token_payment)})
        factors.append(info["contract_state"]["energy_factor"])
        await until_the_period_ends(busy, 60)
        busy.time.now += 60
    assert factors == [2_000, 4_400, 7_280, 10_736]


async def test_a_token_that_is_not_busy_costs_no_more_than_before(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    estimate = await provider.estimate(token_payment)
    await network.devnet.set_params(dynamic_energy_increase=0)
    network.time.now += 60
    assert await provider.estimate(token_payment) == estimate


async def test_a_node_that_does_not_show_contracts_is_taken_for_the_worst(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    usual = await provider.estimate(token_payment)
    await network.devnet.add_fault(FaultKind.HTML, "wallet/getcontractinfo", status=404)
    network.time.now += 60
    worst = await provider.estimate(token_payment)
    assert worst.energy == pytest.approx(usual.energy * 1.26 / 1.15, rel=0.001)


def _hex(payment: Payment) -> str:
    assert payment.asset.contract is not None
    return address.to_hex(payment.asset.contract)
