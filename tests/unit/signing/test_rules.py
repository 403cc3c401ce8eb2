"""A network's rules at the moment of a signature: contract, gas, fee, and one signature for what was counted."""

import asyncio
from pathlib import Path

import pytest

from pipeline.chains.values import Asset, Cost, Family, Payment
from pipeline.signing.errors import CeilingReached, NeverSigned, SigningDeferred, SigningRefused
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.ledger_entries import Entry, Refusal
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


NEVER = Refusal("unreached", "an earlier one was refused")


async def count(rules: SigningRules, name: str, amount: int, *, of_gas_wallet: bool = True) -> None:
    await write(rules, rules.entry(name, "content", amount, of_gas_wallet=of_gas_wallet))


async def write(rules: SigningRules, entry: Entry) -> None:
    (answer,) = await rules.write([entry], NEVER)
    if answer is not None:
        raise answer


async def test_what_is_signed_counts_once(rules: SigningRules) -> None:
    for _ in range(2):
        await count(rules, "r1", 1_500)
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 1_500


async def test_what_is_never_signed_counts_nothing(rules: SigningRules) -> None:
    with pytest.raises(NeverSigned, match="no such token"):
        await write(rules, Entry("r1", "content", refusal=Refusal("forbidden", "no such token")))
    with pytest.raises(NeverSigned, match="no such token"):
        await count(rules, "r1", 1_500)
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 0


async def test_the_gas_wallet_and_the_wallets_have_a_ceiling_each(rules: SigningRules) -> None:
    for name, of_gas_wallet in (("r1", True), ("r2", False)):
        await count(rules, name, 5_000, of_gas_wallet=of_gas_wallet)
    assert rules._ledger.spent(ceiling_of(rules.policy, WALLETS).of) == 5_000
    with pytest.raises(
        CeilingReached,
        match=r"day_max of the signing policy of bsc is reached for the gas wallet: 0\.000000000000005 of",
    ):
        await count(rules, "r3", 1)


async def test_a_batch_is_counted_up_to_the_first_that_may_not_be_signed(rules: SigningRules) -> None:
    await count(rules, "before", 1_000)
    batch = [rules.entry(name, "content", amount, of_gas_wallet=True) for name, amount in BATCH]
    first, over, behind, known, last = await rules.write(batch, NEVER)
    assert (first, known) == (None, None), "what was counted before may have been signed"
    assert isinstance(over, CeilingReached), "it may be signed later"
    assert all(isinstance(one, NeverSigned) and one.why == "unreached" for one in (behind, last))
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 3_000
    assert isinstance((await rules.write([batch[2]], NEVER))[0], NeverSigned), "that stands on the disk"


BATCH = (("r1", 2_000), ("r2", 2_001), ("r3", 1), ("before", 1_000), ("r4", 1))


async def test_what_is_asked_for_twice_at_once_has_one_answer(rules: SigningRules) -> None:
    batch = [rules.entry(name, "content", amount, of_gas_wallet=True) for name, amount in BATCH[:1]]
    batch += [rules.entry(name, "content", 1, of_gas_wallet=True) for name in ("r2", "r3")]
    alone, together = await asyncio.gather(rules.write(batch[:1], NEVER), rules.write(batch, NEVER))
    assert (alone, together) == ([None], [None, None, None])
    assert rules._ledger.spent(ceiling_of(rules.policy, GAS_WALLET).of) == 2_002
