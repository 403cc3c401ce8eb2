"""A network's rules at the moment of a signature: contract, gas, fee, and one signature for what was counted."""

from pathlib import Path

import pytest

from pipeline.chains.values import Asset, Cost, Family, Payment
from pipeline.signing.errors import CeilingReached, SigningDeferred, SigningRefused
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.rules import GAS_WALLET, WALLETS, SigningRules, ceiling_of
from tests.policy import policy

TOKEN, OTHER = "0x55d398326f99059fF775485246999027B3197955", "0xdAC17F958D2ee523a2206206994597C13D831ec7"
COIN = Payment("a", "b", Asset("BNB", 18), 5)
USDT = Payment("a", "b", Asset("USDT", 18, TOKEN), 10**30)


@pytest.fixture
def rules(tmp_path: Path) -> SigningRules:
    known = policy(Family.EVM, "56", TOKEN, fee_max=1_000, day_max=5_000)
    return SigningRules(known, SpendingLedger(tmp_path / "signed.jsonl"))


def test_what_is_allowed(rules: SigningRules) -> None:
    rules.allow(COIN, Cost(1_000, 21_000))
    rules.allow(USDT, Cost(1_000, 150_000))


def test_a_contract_that_is_not_listed(rules: SigningRules) -> None:
    fake = Payment("a", "b", Asset("USDT", 18, OTHER), 1)
    with pytest.raises(SigningRefused, match=f"contract {OTHER} is not in the signing policy"):
        rules.allow(fake, Cost(1, 30_000))
    assert rules.refusal(OTHER) is not None
    assert rules.refusal(TOKEN) is rules.refusal(None) is None


def test_a_call_that_would_use_too_much_gas(rules: SigningRules) -> None:
    with pytest.raises(SigningRefused, match="would use up to 150001 units of gas"):
        rules.allow(USDT, Cost(1, 150_001))


def test_a_fee_above_the_ceiling_waits(rules: SigningRules) -> None:
    with pytest.raises(SigningDeferred, match="wait until fees fall, or raise its fee_max"):
        rules.allow(COIN, Cost(1_001, 21_000))


async def test_a_permit_is_for_one_signature_of_what_was_counted(rules: SigningRules) -> None:
    async with rules.permit(1_500, 1_500, of_gas_wallet=True) as permit:
        with pytest.raises(SigningRefused, match="1501 native raw units was asked for, counted are 1500"):
            permit.use(1_501)
        permit.use(1_500)
        with pytest.raises(SigningRefused, match="counted are 0"):
            permit.use(1)
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 1_500


async def test_what_was_not_signed_is_given_back(rules: SigningRules) -> None:
    with pytest.raises(RuntimeError, match="the lease was lost"):
        async with rules.permit(1_500, 1_500, of_gas_wallet=True):
            raise RuntimeError("the lease was lost")
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 0


async def test_the_gas_wallet_and_the_wallets_have_a_ceiling_each(rules: SigningRules) -> None:
    for of_gas_wallet in (True, False):
        async with rules.permit(5_000, 5_000, of_gas_wallet=of_gas_wallet) as permit:
            permit.use(5_000)
    assert rules._ledger.spent(ceiling_of(rules.policy, WALLETS).of) == 5_000
    with pytest.raises(
        CeilingReached,
        match=r"day_max of the signing policy of bsc is reached for the gas wallet: 0\.000000000000005 of",
    ):
        async with rules.permit(1, 1, of_gas_wallet=True):
            pass


async def test_a_replacement_counts_what_it_adds(rules: SigningRules) -> None:
    async with rules.permit(4_000, 4_000, of_gas_wallet=True) as first:
        first.use(4_000)
    async with rules.permit(4_900, 900, of_gas_wallet=True) as second:
        second.use(4_900)
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 4_900
