"""Tokens that take a fee, and tokens that tell nobody: found out by a simulation, before anything is signed."""

from dataclasses import replace

import pytest

from pipeline.chains.errors import SimulationFailed
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, Family, Payment
from tests.building import build
from tests.chains.provider.tron_network import TronNetwork
from tests.chains.tron.artifacts import creation
from tests.chains.tron.conftest import PAYER

SUPPLY = 10**15


async def of(network: TronNetwork, payment: Payment, token: str, held: int = 1_000_000) -> Payment:
    """The same payment of another token, of which the payer holds ``held``."""
    contract, _ = await network.devnet.deploy(creation(token, SUPPLY), token)
    await network.mine()
    await network.devnet.send_token(contract, payment.sender, held)
    await network.finalize()
    return replace(payment, asset=Asset("USDT", 6, contract), amount=1_000)


async def set_fee(network: TronNetwork, payment: Payment, basis_points: int, most: int) -> None:
    """As USDT's owner can at any time."""
    assert payment.asset.contract is not None
    await network.devnet.call(payment.asset.contract, "setParams(uint256,uint256)", basis_points, most)
    await network.mine()


async def test_a_fee_switch_that_is_off(network: TronNetwork, provider: TronProvider, token_payment: Payment) -> None:
    payment = await of(network, token_payment, "SwitchedFeeToken")
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.did_only(payment)


async def test_a_fee_switch_that_is_on_is_refused(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    payment = await of(network, token_payment, "SwitchedFeeToken")
    await set_fee(network, payment, 100, 50)
    with pytest.raises(SimulationFailed, match=r"the token takes a fee on transfers, 0\.00099 of 0\.001 arrive"):
        await provider.estimate(payment)
    await set_fee(network, payment, 100, 0)
    assert (await provider.estimate(payment)).fee > 0, "and paid again once it is off"


async def test_a_fee_on_top_is_refused(network: TronNetwork, provider: TronProvider, token_payment: Payment) -> None:
    payment = await of(network, token_payment, "FeeOnTopToken")
    with pytest.raises(SimulationFailed, match=r"a fee on top of transfers, 0\.5005 leave for 0\.001 that arrive"):
        await provider.estimate(payment)
    assert (await provider.estimate(replace(payment, amount=1_000_000))).fee > 0, "all of it: nothing is left to take"


async def test_a_token_without_events_is_refused(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    """It would be moved, and no block would show it."""
    payment = await of(network, token_payment, "MuteToken")
    with pytest.raises(SimulationFailed, match="emits no Transfer event"):
        await provider.estimate(payment)


async def test_a_fee_that_is_switched_on_before_the_block_shows_in_its_effects(
    network: TronNetwork, provider: TronProvider, token_payment: Payment
) -> None:
    """Two more writes: a fee limit as it is usual would not be enough for them, which is out of energy then."""
    payment = await of(network, token_payment, "SwitchedFeeToken")
    estimate = replace(await provider.estimate(payment), fee_limit=100_000_000)
    unsigned = await build(provider, payment, estimate, 180)
    signed = provider.codec.attach(unsigned, network.signer.sign(Family.TRON, PAYER, unsigned.digest))
    await set_fee(network, payment, 100, 50)
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.success
    assert not result.did(payment)
    moved = (payment.asset.contract, payment.sender, payment.receiver, 990)
    assert moved in [(one.contract, one.sender, one.receiver, one.amount) for one in result.effects]
