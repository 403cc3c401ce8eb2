"""What is offered for gas: every case of market and policy."""

import pytest

from pipeline.chains.errors import FeeCapTooLow
from pipeline.chains.evm.codec.transaction import GasPrice
from pipeline.chains.evm.rpc.fees import GWEI, FeePolicy, Market, asked_of, choose, raised, with_margin

ETHEREUM = Market(base=20 * GWEI, tip=2 * GWEI, gas_price=22 * GWEI)
BSC = Market(base=0, tip=GWEI // 10, gas_price=GWEI // 10)
OLD = Market(base=None, tip=5 * GWEI, gas_price=5 * GWEI)


@pytest.mark.parametrize(
    ("market", "policy", "fees"),
    [
        (ETHEREUM, FeePolicy(), GasPrice(42 * GWEI, 2 * GWEI)),
        (ETHEREUM, FeePolicy(floor=3 * GWEI), GasPrice(43 * GWEI, 3 * GWEI)),
        (ETHEREUM, FeePolicy(cap=30 * GWEI), GasPrice(30 * GWEI, 2 * GWEI)),
        (ETHEREUM, FeePolicy(cap=21 * GWEI), GasPrice(21 * GWEI, GWEI)),
        (ETHEREUM, FeePolicy(cap=20 * GWEI), GasPrice(20 * GWEI, 0)),
        (ETHEREUM, FeePolicy(legacy=True), GasPrice(22 * GWEI, None)),
        (BSC, FeePolicy(), GasPrice(GWEI // 10, None)),
        (BSC, FeePolicy(floor=GWEI), GasPrice(GWEI, None)),
        (BSC, FeePolicy(legacy=False), GasPrice(GWEI // 10, GWEI // 10)),
        (OLD, FeePolicy(), GasPrice(5 * GWEI, None)),
    ],
)
def test_what_is_offered(market: Market, policy: FeePolicy, fees: GasPrice) -> None:
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
        (GasPrice(100, 10), GasPrice(50, 5), GasPrice(115, 12)),
        (GasPrice(100, 10), GasPrice(300, 30), GasPrice(300, 30)),
        (GasPrice(100, None), GasPrice(50, None), GasPrice(115, None)),
        (GasPrice(100, None), GasPrice(200, 20), GasPrice(200, None)),
        (GasPrice(100, 10), GasPrice(2000, 10), GasPrice(1000, 12)),
        (GasPrice(1, 0), GasPrice(1, 0), GasPrice(2, 1)),
    ],
)
def test_a_replacement_is_raised_to_the_market(old: GasPrice, now: GasPrice, fees: GasPrice) -> None:
    assert raised(old, now, 1000, "a-chain") == fees


def test_a_replacement_above_the_cap_is_not_made() -> None:
    with pytest.raises(FeeCapTooLow, match="it stays as it is") as caught:
        raised(GasPrice(100, 10), GasPrice(1, 1), 114, "a-chain")
    assert (caught.value.needed, caught.value.cap) == (115, 114)


def test_an_offer_at_the_cap_can_still_be_replaced() -> None:
    assert FeePolicy(cap=100).highest == 200
    assert FeePolicy(cap=100, replacement_cap=150).highest == 150


@pytest.mark.parametrize(
    ("like", "asked"),
    [(GasPrice(1, None), GasPrice(22 * GWEI, None)), (GasPrice(1, 1), GasPrice(42 * GWEI, 2 * GWEI))],
)
def test_a_replacement_keeps_its_envelope(like: GasPrice, asked: GasPrice) -> None:
    assert asked_of(ETHEREUM, like, FeePolicy(cap=1 * GWEI)) == asked


def test_margins_round_up() -> None:
    assert with_margin(21_001, 20) == 25_202
    assert with_margin(1, 0) == 1


@pytest.mark.parametrize(
    ("like", "asked"),
    [
        (GasPrice(100 * GWEI, 2 * GWEI), GasPrice(27 * GWEI, 25 * GWEI)),
        (GasPrice(5 * GWEI, None), GasPrice(25 * GWEI, None)),
    ],
)
def test_a_replacement_does_not_offer_far_more_than_the_last_blocks_were_paid(like: GasPrice, asked: GasPrice) -> None:
    """A node hides a payment until it is replaced, and names a tip of its own then."""
    made_up = Market(base=1 * GWEI, tip=400 * GWEI, gas_price=401 * GWEI, paid=1 * GWEI)
    assert asked_of(made_up, like, FeePolicy(cap=500 * GWEI)) == asked
