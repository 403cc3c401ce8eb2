"""How much energy is allowed for: whatever a step of the factor makes of it fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.tron.rpc.energy import ContractEnergy, DynamicEnergy, dynamic_energy, needed

MAINNET = DynamicEnergy(threshold=5_000_000_000, increase=2_000, most=34_000)
QUIET, BUSY = 1_000_000, MAINNET.threshold


def stepped(factor: int, rules: DynamicEnergy) -> int:
    """ContractStateCapsule.catchUpToCycle."""
    return min(rules.most, int((factor + 10_000) * (1 + rules.increase / 10_000)) - 10_000)


@pytest.mark.parametrize(
    ("energy", "penalty", "contract", "allowed"),
    [
        (28_654, 0, ContractEnergy(QUIET, 0), 32_953),  # 15 %: its factor will not rise
        (28_654, 0, ContractEnergy(BUSY, 0), 36_106),  # a fifth, and 5 % on that
        (28_654, 0, None, 36_105),  # nobody knows
        (60_000, 20_000, ContractEnergy(QUIET, 5_000), 75_600),  # one that is dear stays under suspicion
        (64_240, 49_640, ContractEnergy(BUSY, 34_000), 73_876),  # at the most it rises no more: 15 %
        (64_240, 49_640, None, 80_943),
        (63_000, 48_400, ContractEnergy(BUSY, 33_000), 72_450),  # nearly there: the most bounds it
    ],
)
def test_what_is_allowed(energy: int, penalty: int, contract: ContractEnergy | None, allowed: int) -> None:
    assert needed(energy, penalty, MAINNET, contract) == allowed


def test_without_dynamic_energy_it_is_the_usual_margin() -> None:
    assert needed(100_000, 0, None, None) == 115_000


@given(
    st.lists(st.integers(2, 30_000), min_size=1, max_size=60),
    st.integers(0, 34_000),
    st.integers(0, 10_000),
    st.integers(0, 100_000),
)
def test_one_step_always_fits(ops: list[int], factor: int, increase: int, most: int) -> None:
    """java-tron rounds the penalty of each opcode down; the more opcodes, the more that hides."""
    rules = DynamicEnergy(0, increase, most)
    factor = min(factor, most)

    def used(by: int) -> int:
        return sum(op + op * by // 10_000 for op in ops)

    penalty = used(factor) - sum(ops)
    allowed = needed(used(factor), penalty, rules, ContractEnergy(1, factor))
    assert used(stepped(factor, rules)) <= allowed


@given(st.lists(st.tuples(st.integers(2_000, 30_000), st.integers(0, 34_000)), min_size=1, max_size=6))
def test_one_step_of_every_contract_that_takes_part_fits(parts: list[tuple[int, int]]) -> None:
    """A token behind a proxy calls others, each with a factor of its own; only one of them is looked at."""

    def used(step: bool) -> int:
        return sum(base + base * (stepped(own, MAINNET) if step else own) // 10_000 for base, own in parts)

    penalty = used(False) - sum(base for base, _ in parts)
    contract = ContractEnergy(BUSY, parts[0][1])
    assert used(True) <= needed(used(False), penalty, MAINNET, contract)


def test_the_chains_parameters() -> None:
    told = {"getAllowDynamicEnergy": 1, "getDynamicEnergyThreshold": 7, "getDynamicEnergyIncreaseFactor": 2_000}
    assert dynamic_energy(told | {"getDynamicEnergyMaxFactor": 34_000}) == DynamicEnergy(7, 2_000, 34_000)
    assert dynamic_energy(told | {"getAllowDynamicEnergy": 0}) is None
    assert dynamic_energy({}) is None
    with pytest.raises(ValueError, match="getDynamicEnergyIncreaseFactor"):
        dynamic_energy(told | {"getDynamicEnergyIncreaseFactor": 10_001})
