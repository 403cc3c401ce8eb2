"""What the energy of a busy contract costs on top, and how that rises and falls.

java-tron (ContractStateCapsule.catchUpToCycle, VM.play): a contract that used more energy in a maintenance period than
the threshold begins the next one with a factor that is higher by ``dynamic_energy_increase``, up to the most; in each
period in which it did not, the factor falls by a quarter of that. Of each energy used, the factor is charged on top.

Two simplifications. All energy of a call is the called contract's, where java-tron counts the contracts that it calls
by their own factors; and the penalty is rounded once, where java-tron rounds it down at every opcode: here it is never
lower.
"""

from dataclasses import dataclass, replace

from pipeline.devnet.params import BlockEnv

PRECISION = 10_000
"""A factor is given in parts of this (DYNAMIC_ENERGY_FACTOR_DECIMAL)."""
_DECREASE_DIVISION = 4


@dataclass(frozen=True, slots=True)
class ContractState:
    """java-tron's message of that name, as it stands in one maintenance period."""

    cycle: int
    usage: int = 0
    """Energy used in this period, without penalties."""
    factor: int = 0

    def with_usage(self, energy: int) -> "ContractState":
        return replace(self, usage=self.usage + energy)


def cycle_of(env: BlockEnv) -> int:
    """The maintenance period of a block. java-tron counts them from genesis, here they are counted from 1970."""
    return env.timestamp // env.params.maintenance_interval


def next_maintenance(env: BlockEnv) -> int:
    """When the next period begins, milliseconds since 1970."""
    return (cycle_of(env) + 1) * env.params.maintenance_interval


def caught_up(state: ContractState | None, env: BlockEnv) -> ContractState:
    """A contract's state in the period of ``env``; None: nobody has called it yet."""
    now, params = cycle_of(env), env.params
    if state is None or state.cycle > now:
        state = ContractState(now)
    elif state.cycle < now:
        factor, periods = state.factor, now - state.cycle
        if state.usage > params.dynamic_energy_threshold:
            factor = min(params.dynamic_energy_max, _times(factor, 1 + params.dynamic_energy_increase / PRECISION))
            periods -= 1
        if periods:
            factor = _times(factor, (1 - params.dynamic_energy_increase / _DECREASE_DIVISION / PRECISION) ** periods)
        state = ContractState(now, 0, max(0, factor))
    return replace(state, factor=max(state.factor, min(params.energy_factor, params.dynamic_energy_max)))


def penalty(energy: int, factor: int) -> int:
    """Charged on top of ``energy``."""
    return energy * factor // PRECISION


def before_penalty(budget: int, factor: int) -> int:
    """The most energy that, with its penalty, still fits into ``budget``."""
    return ((budget + 1) * PRECISION - 1) // (PRECISION + factor)


def _times(factor: int, by: float) -> int:
    return int((factor + PRECISION) * by) - PRECISION
