"""Coins that an account locks up for bandwidth or energy (Stake 2.0: FreezeBalanceV2Actuator and its neighbours).

What is staked gives its share of the network's daily bandwidth or energy. Delegating it to others, votes and rewards
are not of this network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.devnet.encoding import PREFIX, keccak256
from pipeline.devnet.params import BlockEnv
from pipeline.devnet.transactions import invalid

TOTAL_NET_LIMIT, TOTAL_NET_WEIGHT = 43_200_000_000, 26_982_826_755
TOTAL_ENERGY_LIMIT, TOTAL_ENERGY_WEIGHT = 180_000_000_000, 19_365_209_178
"""Of the main network: what is given out in a day, and the coins that are staked for it. Those that are staked here
change neither."""
WAIT_MS = 14 * 24 * 3600 * 1000
"""From unfreezing until the coins can be withdrawn (getUnfreezeDelayDays)."""
MOST_UNFREEZING = 32
BANDWIDTH, ENERGY = range(2)
_COIN = 1_000_000
_VAULT = PREFIX + keccak256(b"flagpost devnet staked coins")[12:]
_NAMES = ("BANDWIDTH", "Energy")


@dataclass(frozen=True, slots=True)
class Stake:
    """An account's."""

    frozen: tuple[int, int] = (0, 0)
    """Sun for bandwidth and for energy."""
    unfreezing: tuple[tuple[int, int, int], ...] = ()
    """Resource, sun, and the time from which on it can be withdrawn, milliseconds."""

    @property
    def net_limit(self) -> int:
        """Bytes a day."""
        return self.frozen[BANDWIDTH] // _COIN * TOTAL_NET_LIMIT // TOTAL_NET_WEIGHT

    @property
    def energy_limit(self) -> int:
        """A day's."""
        return self.frozen[ENERGY] // _COIN * TOTAL_ENERGY_LIMIT // TOTAL_ENERGY_WEIGHT

    def with_frozen(self, resource: int, sun: int) -> "Stake":
        frozen = list(self.frozen)
        frozen[resource] += sun
        return replace(self, frozen=(frozen[0], frozen[1]))


NO_STAKE = Stake()


class Holder(Protocol):
    """The state as far as coins are locked up in it."""

    def balance(self, address: bytes) -> int: ...

    def stake(self, address: bytes) -> Stake: ...

    def put_stake(self, address: bytes, stake: Stake) -> None: ...

    def move(self, sender: bytes, receiver: bytes, sun: int) -> None: ...


def freeze(state: Holder, owner: bytes, contract: Any, env: BlockEnv) -> None:
    sun, resource = contract.frozen_balance, contract.resource
    if sun <= 0:
        raise invalid("frozenBalance must be positive")
    if sun < _COIN:
        raise invalid("frozenBalance must be greater than or equal to 1 TRX")
    if sun > state.balance(owner):
        raise invalid("frozenBalance must be less than or equal to accountBalance")
    if resource not in (BANDWIDTH, ENERGY):
        raise invalid("ResourceCode error, valid ResourceCode[BANDWIDTH、ENERGY]")
    state.move(owner, _VAULT, sun)
    state.put_stake(owner, state.stake(owner).with_frozen(resource, sun))


def unfreeze(state: Holder, owner: bytes, contract: Any, env: BlockEnv) -> None:
    """They can be withdrawn later. What can be by now is, as java-tron does."""
    sun, resource = contract.unfreeze_balance, contract.resource
    if resource not in (BANDWIDTH, ENERGY):
        raise invalid("ResourceCode error.valid ResourceCode[BANDWIDTH、Energy]")
    held = state.stake(owner).frozen[resource]
    if not held:
        raise invalid(f"no frozenBalance({_NAMES[resource]})")
    if not 0 < sun <= held:
        raise invalid(f"Invalid unfreeze_balance, [{sun}] is error")
    if sum(until > env.timestamp for _, _, until in state.stake(owner).unfreezing) >= MOST_UNFREEZING:
        raise invalid("Invalid unfreeze operation, unfreezing times is over limit")
    _withdraw(state, owner, env)
    stake = state.stake(owner).with_frozen(resource, -sun)
    waiting = (resource, sun, env.timestamp + WAIT_MS)
    state.put_stake(owner, replace(stake, unfreezing=(*stake.unfreezing, waiting)))


def withdraw(state: Holder, owner: bytes, contract: Any, env: BlockEnv) -> None:
    if not _withdraw(state, owner, env):
        raise invalid("no unFreeze balance to withdraw ")


def shown(stake: Stake) -> Mapping[str, Any]:
    """The part of ``getaccount`` that shows a stake, in java-tron's words."""
    types: tuple[Mapping[str, Any], ...] = ({}, {"type": "ENERGY"}, {"type": "TRON_POWER"})
    amounts = (*stake.frozen, 0)
    frozen = [{**kind, **({"amount": sun} if sun else {})} for kind, sun in zip(types, amounts, strict=True)]
    shape: dict[str, Any] = {"frozenV2": frozen}
    if stake.unfreezing:
        shape["unfrozenV2"] = [
            {**types[resource], "unfreeze_amount": sun, "unfreeze_expire_time": until}
            for resource, sun, until in stake.unfreezing
        ]
    return shape


def _withdraw(state: Holder, owner: bytes, env: BlockEnv) -> int:
    stake = state.stake(owner)
    ripe = sum(sun for _, sun, until in stake.unfreezing if until <= env.timestamp)
    if ripe:
        waiting = tuple(one for one in stake.unfreezing if one[2] > env.timestamp)
        state.put_stake(owner, replace(stake, unfreezing=waiting))
        state.move(_VAULT, owner, ripe)
    return ripe
