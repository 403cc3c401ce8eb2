"""Tokens that are not what they should be: each found out before anything is signed, or by its effect at the latest."""

import re
from dataclasses import replace

import pytest

from pipeline.chains.errors import InvalidAddress, NotAToken, SimulationFailed
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.evm.rpc.simulate import MOST_TOLERATED
from pipeline.chains.fees import EvmFee
from pipeline.chains.values import Asset, Family, Payment, Proof
from tests.building import build
from tests.chains.evm.conftest import Deploy
from tests.chains.provider.evm_network import EvmNetwork

PAYER, RECEIVER = 40, 41


async def holding(network: EvmNetwork, token: Asset, amount: int) -> Payment:
    """A payment of all that the payer holds."""
    payer = await network.address(PAYER)
    await network.fund(payer, 100_000_000)
    mint = "0x40c10f19" + payer[2:].rjust(64, "0") + amount.to_bytes(32, "big").hex()
    await network.node.send(network.node.accounts[0], token.contract, data=mint)
    await network.finalize()
    return Payment(payer, await network.address(RECEIVER), token, amount)


async def told(network: EvmNetwork, token: Asset, signature: str, *words: int) -> None:
    """A call of the token by nobody in particular."""
    await network.node.send(
        network.node.accounts[2], token.contract, data=signature + "".join(f"{word:064x}" for word in words)
    )
    await network.mine()


@pytest.mark.parametrize("name", ["PlainToken", "SilentToken"])
async def test_returning_true_or_nothing_is_accepted(network: EvmNetwork, deploy: Deploy, name: str) -> None:
    token = await deploy(name, decimals=6, arguments=f"{6:064x}" if name == "PlainToken" else "")
    payment = await holding(network, token, 10**9)
    network.token = token
    provider = network.provider()
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.did(payment)
    assert await network.times_paid(payment) == 1


async def test_returning_false_is_refused(network: EvmNetwork, provider: EvmProvider, deploy: Deploy) -> None:
    payment = await holding(network, await deploy("FalseToken"), 500)
    with pytest.raises(SimulationFailed, match=r"transfer\(\) returns false"):
        await provider.estimate(payment)


async def test_reverting_is_refused_with_the_tokens_words(
    network: EvmNetwork, provider: EvmProvider, deploy: Deploy
) -> None:
    payment = await holding(network, await deploy("PlainToken", arguments=f"{18:064x}"), 500)
    with pytest.raises(SimulationFailed, match="would fail: transfer amount exceeds balance"):
        await provider.estimate(replace(payment, amount=501))


async def test_paused_and_unpaused(network: EvmNetwork, provider: EvmProvider, deploy: Deploy) -> None:
    token = await deploy("GuardedToken")
    payment = await holding(network, token, 500)
    await told(network, token, "0x02329a29", 1)
    with pytest.raises(SimulationFailed, match="would fail: paused"):
        await provider.estimate(payment)
    await told(network, token, "0x02329a29", 0)
    assert (await provider.estimate(payment)).gas_limit > 21_000


async def test_a_blacklisted_sender(network: EvmNetwork, provider: EvmProvider, deploy: Deploy) -> None:
    token = await deploy("GuardedToken")
    payment = await holding(network, token, 500)
    await told(network, token, "0x404e5129", int(payment.sender, 16), 1)
    with pytest.raises(SimulationFailed, match=f"from {payment.sender} .* would fail: sender is blacklisted"):
        await provider.estimate(payment)


async def test_a_fee_on_transfer_is_found_by_simulation(
    network: EvmNetwork, provider: EvmProvider, deploy: Deploy
) -> None:
    payment = await holding(network, await deploy("FeeToken"), 10**18)
    with pytest.raises(SimulationFailed, match=re.escape("takes a fee on transfers, 0.99 of 1 arrive")):
        await provider.estimate(payment)


async def test_a_fee_on_transfer_is_found_by_its_effect(network: EvmNetwork, deploy: Deploy) -> None:
    """Where the node takes no overrides, and a payment of such a token was signed all the same."""
    network.token = await deploy("FeeToken")
    payment = await holding(network, network.token, 10_000)
    provider = network.provider()
    estimate = EvmFee(gas_limit=200_000, max_fee=20, tip=1)
    unsigned = await build(provider, payment, estimate, 0, 0)
    signature = network.signer.sign(Family.EVM, PAYER, unsigned.digest)
    signed = provider.codec.attach(unsigned, signature)
    await provider.broadcast(signed)
    await network.finalize()
    verdict = await provider.verdict(signed)
    assert verdict.proof is Proof.FINAL
    assert verdict.result is not None
    assert verdict.result.success
    assert [(one.amount, one.place) for one in verdict.result.effects] == [(9_900, "l0"), (100, "l1")]
    assert not verdict.result.did(payment)


@pytest.mark.parametrize("exact", [True, False])
async def test_shares_that_arrive_short_need_a_tolerance(network: EvmNetwork, deploy: Deploy, exact: bool) -> None:
    """stETH: 2 raw units less arrive, whether its log says so or not."""
    token = await deploy("SharesToken", arguments=f"{int(exact):064x}")
    payment = await holding(network, token, 100_000)
    payment = replace(payment, amount=1_000)
    provider = network.provider()
    with pytest.raises(SimulationFailed, match=r"by 2 raw units here.* --tolerance 2"):
        await provider.estimate(payment)
    with pytest.raises(SimulationFailed, match="by 2 raw units here"):
        await provider.estimate(replace(payment, asset=replace(token, tolerance=1)))
    payment = replace(payment, asset=replace(token, tolerance=2))
    signed = await network.sign(provider, payment, PAYER)
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert result.did(payment)
    assert result.moved(payment) == (998 if exact else 1_000)
    assert result.did(replace(payment, asset=token)) is not exact, "without it a log that says less is no payment"


async def test_no_fee_hides_in_a_tolerance(network: EvmNetwork, provider: EvmProvider, deploy: Deploy) -> None:
    token = replace(await deploy("FeeToken"), tolerance=MOST_TOLERATED)
    with pytest.raises(SimulationFailed, match="takes a fee on transfers"):
        await provider.estimate(await holding(network, token, MOST_TOLERATED * 10**6))


async def test_gas_that_runs_out_is_called_that(network: EvmNetwork, provider: EvmProvider) -> None:
    payer = await network.address(PAYER)
    await network.fund(payer, 100_000_000, tokens=500)
    await network.finalize()
    payment = Payment(payer, await network.address(RECEIVER), network.token, 500)
    estimate = replace(await provider.estimate(payment), gas_limit=30_000)
    unsigned = await build(provider, payment, estimate, 0, 0)
    signed = provider.codec.attach(unsigned, network.signer.sign(Family.EVM, PAYER, unsigned.digest))
    await provider.broadcast(signed)
    await network.finalize()
    result = (await provider.verdict(signed)).result
    assert result is not None
    assert (result.success, result.message, result.effects) == (False, "OUT_OF_GAS", ())


async def test_a_token_describes_itself(network: EvmNetwork, provider: EvmProvider, deploy: Deploy) -> None:
    usdt = await provider.inspect_token(network.token.contract or "")
    assert (usdt.contract, usdt.symbol, usdt.decimals) == (network.token.contract, "USDT", 6)
    early = await provider.inspect_token((await deploy("FalseToken")).contract or "")
    assert (early.symbol, early.decimals) == ("FLS", 18), "its symbol is a bytes32"


async def test_what_is_no_token(network: EvmNetwork, provider: EvmProvider, deploy: Deploy) -> None:
    with pytest.raises(NotAToken, match="has no code on this chain"):
        await provider.inspect_token(await network.address(1))
    other = await deploy("NoToken")
    with pytest.raises(NotAToken, match=r"is not an ERC20: it does not answer decimals\(\)"):
        await provider.inspect_token(other.contract or "")
    odd = await deploy("PlainToken", arguments=f"{99:064x}")
    with pytest.raises(NotAToken, match="says it has 99 decimals"):
        await provider.inspect_token(odd.contract or "")
    with pytest.raises(InvalidAddress, match="TRON address"):
        await provider.inspect_token("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
