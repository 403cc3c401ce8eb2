"""What is offered for gas: every case of market and policy."""

import pytest

from pipeline.chains.errors import FeeCapTooLow
from pipeline.chains.evm.codec.transaction import Fees
from pipeline.chains.evm.rpc.fees import GWEI, FeePolicy, Market, asked_of, choose, raised, with_margin

ETHEREUM = Market(base=20 * GWEI, tip=2 * GWEI, gas_price=22 * GWEI)
BSC = Market(base=0, tip=GWEI // 10, gas_price=GWEI // 10)
OLD = Market(base=None, tip=5 * GWEI, gas_price=5 * GWEI)


@pytest.mark.parametrize(
    ("market", "policy", "fees"),
    [
        (ETHEREUM, FeePolicy(), Fees(42 * GWEI, 2 * GWEI)),
        (ETHEREUM, FeePolicy(floor=3 * GWEI), Fees(43 * GWEI, 3 * GWEI)),
        (ETHEREUM, FeePolicy(cap=30 * GWEI), Fees(30 * GWEI, 2 * GWEI)),
        (ETHEREUM, FeePolicy(cap=21 * GWEI), Fees(21 * GWEI, GWEI)),
        (ETHEREUM, FeePolicy(cap=20 * GWEI), Fees(20 * GWEI, 0)),
        (ETHEREUM, FeePolicy(legacy=True), Fees(22 * GWEI, None)),
        (BSC, FeePolicy(), Fees(GWEI // 10, None)),
        (BSC, FeePolicy(floor=GWEI), Fees(GWEI, None)),
        (BSC, FeePolicy(legacy=False), Fees(GWEI // 10, GWEI // 10)),
        (OLD, FeePolicy(), Fees(5 * GWEI, None)),
    ],
)
def test_what_is_offered(market: Market, policy: FeePolicy, fees: Fees) -> None:
    assert choose(market, policy, "a-chain") == fees


@pytest.mark.parametrize(
    ("market", "policy", "message"),
    [
        (ETHEREUM, FeePolicy(cap=20 * GWEI - 1), "the base fee on a-chain is 20 gwei, the cap is 19.999999999"),
        (ETHEREUM, FeePolicy(cap=20 * GWEI, floor=1), "payments wait until it falls or the cap is raised"),
        (BSC, FeePolicy(cap=GWEI // 20), "gas price on a-chain is 0.1 gwei"),
        (OLD, FeePolicy(cap=GWEI), "gas price on a-chain is 5 gwei, the cap is 1"),
        (ETHEREUM, FeePolicy(cap=GWEI, legacy=True), "base fee on a-chain is 20 gwei"),
    ],
)
def test_a_cap_below_the_market_waits_and_says_so(market: Market, policy: FeePolicy, message: str) -> None:
    with pytest.raises(FeeCapTooLow, match=message) as caught:
        choose(market, policy, "a-chain")
    assert caught.value.needed > caught.value.cap == policy.cap


@pytest.mark.parametrize(
    ("old", "now", "fees"),
    [
        (Fees(100, 10), Fees(50, 5), Fees(115, 12)),
        (Fees(100, 10), Fees(300, 30), Fees(300, 30)),
        (Fees(100, None), Fees(50, None), Fees(115, None)),
        (Fees(100, None), Fees(200, 20), Fees(200, None)),
        (Fees(100, 10), Fees(2000, 10), Fees(1000, 12)),
        (Fees(1, 0), Fees(1, 0), Fees(2, 1)),
    ],
)
def test_a_replacement_is_raised_to_the_market(old: Fees, now: Fees, fees: Fees) -> None:
    assert raised(old, now, 1000, "a-chain") == fees


def test_a_replacement_above_the_cap_is_not_made() -> None:
    with pytest.raises(FeeCapTooLow, match="it stays as it is") as caught:
        raised(Fees(100, 10), Fees(1, 1), 114, "a-chain")
    assert (caught.value.needed, caught.value.cap) == (115, 114)


def test_an_offer_at_the_cap_can_still_be_replaced() -> None:
    assert FeePolicy(cap=100).highest == 200
    assert FeePolicy(cap=100, replacement_cap=150).highest == 150


@pytest.mark.parametrize(
    ("like", "asked"),
    [(Fees(1, None), Fees(22 * GWEI, None)), (Fees(1, 1), Fees(42 * GWEI, 2 * GWEI))],
)
def test_a_replacement_keeps_its_envelope(like: Fees, asked: Fees) -> None:
    assert asked_of(ETHEREUM, like, FeePolicy(cap=1 * GWEI)) == asked


def test_margins_round_up() -> None:
    assert with_margin(21_001, 20) == 25_202
    assert with_margin(1, 0) == 1


@pytest.mark.parametrize(
    ("like", "asked"),
    [(Fees(100 * GWEI, 2 * GWEI), Fees(27 * GWEI, 25 * GWEI)), (Fees(5 * GWEI, None), Fees(25 * GWEI, None))],
)
def test_a_replacement_does_not_offer_far_more_than_the_last_blocks_were_paid(like: Fees, asked: Fees) -> None:
    """A node hides a payment until it is replaced, and names a tip of its own then."""
    made_up = Market(base=1 * GWEI, tip=400 * GWEI, gas_price=401 * GWEI, paid=1 * GWEI)
    assert asked_of(made_up, like, FeePolicy(cap=500 * GWEI)) == asked
