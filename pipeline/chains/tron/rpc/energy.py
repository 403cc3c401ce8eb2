"""The energy that a call may need by the time it is in a block.

TRON charges busy contracts more (dynamic energy): a contract that used more energy in a maintenance period (six hours
on the main network) than the threshold begins the next one with a factor that is higher by a fifth, and all energy
that it uses is charged by that factor on top. A payment that is simulated before the boundary and lands behind it
costs so much more, and OUT_OF_ENERGY spends the fee and moves nothing. java-tron: VM.play,
ContractStateCapsule.catchUpToCycle; the numbers are chain parameters, a contract's factor stands in
``wallet/getcontractinfo``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.chains.rpc.answers import field, mapping, whole
from pipeline.chains.rpc.http import NodeFailure
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.rpc.node import TronNode, reading
from pipeline.chains.values import Finality

MARGIN_PERCENT = 15
"""On simulated energy: what the token keeps of sender and receiver may change until the payment lands."""
STEP_MARGIN_PERCENT = 5
"""On the energy after a step of the factor: for the same, and for what java-tron rounds down at every opcode."""

_PRECISION = 10_000
"""Factors are given in parts of this."""
_MOST_FACTOR = 100_000
"""java-tron takes no proposal for more (DYNAMIC_ENERGY_MAX_FACTOR_RANGE)."""
PARAMETERS = (
    "getAllowDynamicEnergy",
    "getDynamicEnergyThreshold",
    "getDynamicEnergyIncreaseFactor",
    "getDynamicEnergyMaxFactor",
)
"""What is read of the chain's parameters; a network without dynamic energy lacks them."""


@dataclass(frozen=True, slots=True)
class DynamicEnergy:
    """By what rules factors rise, in 1/10,000."""

    threshold: int
    """Energy of a contract in a maintenance period above which its factor rises."""
    increase: int
    most: int

    @classmethod
    def most_expensive(cls, said: Sequence["DynamicEnergy | None"]) -> "DynamicEnergy | None":
        """Of what several nodes say, each rule as it costs the most; None where none has any."""
        known = [one for one in said if one is not None]
        if not known:
            return None
        return cls(
            threshold=min(one.threshold for one in known),
            increase=max(one.increase for one in known),
            most=max(one.most for one in known),
        )


@dataclass(frozen=True, slots=True)
class ContractEnergy:
    """A contract in the running maintenance period."""

    usage: int
    factor: int


def dynamic_energy(parameters: dict[str, int]) -> DynamicEnergy | None:
    """None: factors do not rise on this network. Raises MalformedAnswer for a factor that no network has."""
    if not parameters.get("getAllowDynamicEnergy"):
        return None
    _, threshold, increase, most = (parameters.get(name, 0) for name in PARAMETERS)
    whole(increase, "getDynamicEnergyIncreaseFactor", _PRECISION)
    whole(most, "getDynamicEnergyMaxFactor", _MOST_FACTOR)
    return DynamicEnergy(threshold, increase, most) if increase else None


async def contract_energy(node: TronNode, contract: str) -> ContractEnergy | None:
    """None where the node does not tell: one behind a gateway may not serve that call. Raises NodeFailure."""
    try:
        answer = await node.call("getcontractinfo", Finality.HEAD, {"value": address.to_hex(contract)})
    except NodeFailure as failure:
        if failure.code in ("http 404", "http 405"):
            return None
        raise
    with reading(node, "the state of a contract"):
        state: Any = field(answer, "contract_state")
        if state is None:
            return None
        state = mapping(state, "contract_state")
        # A value of 0 is left out of java-tron's JSON.
        usage = whole(state.get("energy_usage"), "energy_usage", missing=0)
        return ContractEnergy(usage, whole(state.get("energy_factor"), "energy_factor", _MOST_FACTOR, missing=0))


def needed(energy: int, penalty: int, rules: DynamicEnergy | None, contract: ContractEnergy | None) -> int:
    """The energy to allow for a call whose simulation used ``energy``, ``penalty`` of it by factors."""
    usual = _raised(energy, MARGIN_PERCENT, 100)
    if rules is None or not _may_rise(penalty, rules, contract):
        return usual
    # Whatever contracts take part and whatever their factors are: no part of it rises by more than the increase.
    stepped = _raised(energy, rules.increase, _PRECISION)
    if contract is not None:
        base = energy - penalty if penalty else energy * _PRECISION // (_PRECISION + contract.factor) + 1
        factor = (contract.factor + _PRECISION) * (_PRECISION + rules.increase) // _PRECISION - _PRECISION
        stepped = max(stepped, _raised(base, factor, _PRECISION))
        stepped = min(stepped, _raised(base, rules.most, _PRECISION))
    return max(usual, _raised(stepped, STEP_MARGIN_PERCENT, 100))


def _may_rise(penalty: int, rules: DynamicEnergy, contract: ContractEnergy | None) -> bool:
    """Whether the next period may charge more: for a contract that is charged more already, or that has used half of
    what that takes."""
    return contract is None or penalty > 0 or contract.factor > 0 or 2 * contract.usage > rules.threshold


def _raised(value: int, by: int, of: int) -> int:
    """``value`` and ``by``/``of`` of it, rounded up."""
    return -(-value * (of + by) // of)
