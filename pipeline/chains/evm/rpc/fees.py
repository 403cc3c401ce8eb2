"""What a payment costs on an EVM chain: gas by estimation of the very payment, a price by the last blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median_low
from typing import Any

from pipeline.chains.errors import FeeCapTooLow, InvalidAddress
from pipeline.chains.evm.codec import address
from pipeline.chains.evm.codec.transaction import GasPrice
from pipeline.chains.evm.rpc.node import EvmNode, reading, wanted
from pipeline.chains.rpc.answers import MAX_PRICE, MalformedAnswer, field, quantity, sequence
from pipeline.chains.rpc.http import Clock
from pipeline.chains.rpc.kept_answers import KeptAnswers
from pipeline.chains.rpc.nodes import Nodes
from pipeline.units import to_human

GWEI = 10**9
QUOTE_KEPT_SECONDS = 2.0
"""Many payments of one moment share a quote."""
HISTORY_BLOCKS = 5
PRICE_RISE_MAX = 10
"""A price is not offered that is so many times what the last blocks paid: somebody made it up. Prices below a twentieth
of the cap are not compared, as little hangs on them."""
NO_ORACLE = "none"
"""In place of an oracle's address: the chain charges nothing for L1 beside gas."""
_GWEI_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """How fees are chosen on a chain; wei for a unit of gas, but the percents. Each may be set by ``parse``."""

    legacy: bool | None = None
    """True: gas price only. None: so where the base fee is 0 or there is none (BSC)."""
    cap: int = 500 * GWEI
    """A first offer is never higher, whatever the network asks for."""
    replacement_cap: int | None = None
    """For replacements of what is stuck; None: twice the cap, or an offer at the cap could not be replaced at all."""
    floor: int = 0
    """Gas price never below (legacy), tip never below (EIP-1559)."""
    tip_percentile: int = 50
    """Of the tips paid in the last blocks."""
    gas_margin_percent: int = 20
    """On the estimated gas of a token transfer: storage may change until it lands. A plain coin transfer to an
    account without code costs 21,000 and needs none."""
    l1_oracle: str | None = None
    """The contract that says what a rollup charges for L1 beside gas: its address, or ``none``. None: the OP Stack's,
    where code stands at its address."""
    l1_margin_percent: int = 50
    """On what it says: L1's base fee rises by 12.5 % a block of 12 s at the most, and the transaction lands later."""

    @property
    def named_oracle(self) -> str | None:
        """The oracle's address where one is set."""
        return None if self.l1_oracle == NO_ORACLE else self.l1_oracle

    @property
    def highest(self) -> int:
        """What any transaction of ours offers at the most."""
        return 2 * self.cap if self.replacement_cap is None else self.replacement_cap

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> "FeePolicy":
        """From JSON. Raises ValueError naming the field."""
        known = {field.name for field in fields(cls)}
        unknown = options.keys() - known
        if unknown:
            raise ValueError(f"fee options {sorted(unknown)} do not exist: {', '.join(sorted(known))} do")
        policy = cls(**{name: _option(name, value) for name, value in options.items()})
        if policy.cap > policy.highest:
            raise ValueError(f"fee option replacement_cap is {policy.highest} wei: it cannot be below cap {policy.cap}")
        if policy.cap <= policy.floor:
            raise ValueError(f"fee option cap is {policy.cap} wei and floor {policy.floor}: cap must be the larger")
        if policy.tip_percentile > 100:
            raise ValueError(f"fee option tip_percentile is {policy.tip_percentile}: it is at most 100")
        return policy


@dataclass(frozen=True, slots=True)
class Market:
    """What the network asks for now, wei for a unit of gas."""

    base: int | None
    """Of the next block; None where there is none."""
    tip: int
    """Paid to the block's producer lately, by the policy's percentile."""
    gas_price: int
    """The node's own advice for legacy transactions."""
    paid: int | None = None
    """The tip that the last blocks were paid, by the policy's percentile; None where they were empty."""

    @classmethod
    def median(cls, said: Sequence["Market"]) -> "Market":
        """Of several nodes: of two the lower price each. One that is too low waits and is replaced, one that is too
        high is paid."""
        bases = [one.base for one in said if one.base is not None]
        paid = [one.paid for one in said if one.paid is not None]
        return cls(
            base=median_low(bases) if bases else None,
            tip=median_low(one.tip for one in said),
            gas_price=median_low(one.gas_price for one in said),
            paid=median_low(paid) if paid else None,
        )


class EvmFees:
    """The price of gas, shortly kept. One for each provider."""

    def __init__(self, chain: str, policy: FeePolicy, clock: Clock, nodes: Nodes[EvmNode]) -> None:
        self.policy = policy
        self._chain = chain
        self._nodes = nodes
        self._market = KeptAnswers[None, Market](clock, QUOTE_KEPT_SECONDS)

    async def quote(self) -> GasPrice:
        """What a transaction offers now. Raises FeeCapTooLow, ChainUnavailable."""
        return choose(await self.market(), self.policy, self._chain)

    async def market(self) -> Market:
        """The median of two nodes, at most QUOTE_KEPT_SECONDS old. Who asks while it is being read shares the answer.
        Raises ChainUnavailable."""
        return await self._market.get(None, self._read)

    async def _read(self) -> Market:
        return Market.median(await self._nodes.opinions(lambda node: _read(node, self.policy.tip_percentile)))


def choose(market: Market, policy: FeePolicy, chain: str) -> GasPrice:
    """What the network asks for, within the cap. Raises FeeCapTooLow when the cap would leave it in the pool."""
    legacy = policy.legacy if policy.legacy is not None else not market.base
    base, offer = market.base or 0, _asked(market, policy, legacy)
    if market.paid is not None:
        _not_far_above(
            offer.max_fee if legacy else offer.tip or 0, base + market.paid if legacy else market.paid, policy, chain
        )
    if not base:
        # Nothing to compare a lower price with: it may wait for ever.
        _within_cap(offer.max_fee, policy, chain, "gas price")
    _within_cap(base + (0 if legacy else policy.floor), policy, chain, "base fee")
    max_fee = min(offer.max_fee, policy.cap)
    return GasPrice(max_fee, None if offer.tip is None else min(offer.tip, max_fee - base))


def asked_of(market: Market, like: GasPrice, policy: FeePolicy) -> GasPrice:
    """What the network asks for now of a transaction in the envelope of ``like``, without any cap; no more than is near
    what the last blocks were paid."""
    asked = _asked(market, policy, like.tip is None)
    if market.paid is None:
        return asked
    base = market.base or 0
    if asked.tip is None:
        return GasPrice(min(asked.max_fee, _most(base + market.paid, policy)), None)
    tip = min(asked.tip, _most(market.paid, policy))
    return GasPrice(asked.max_fee - (asked.tip - tip), tip)


def raised(fees: GasPrice, now: GasPrice, cap: int, chain: str) -> GasPrice:
    """The price of a replacement: both +15 %, and no less than what the network asks for now.

    Raises FeeCapTooLow when that is above the cap; the transaction in the pool then stays as it is.
    """
    bumped = fees.bumped()
    if fees.tip is None or bumped.tip is None:
        higher = GasPrice(max(bumped.max_fee, now.max_fee), None)
    else:
        higher = GasPrice(max(bumped.max_fee, now.max_fee), max(bumped.tip, now.tip or 0))
    if bumped.max_fee > cap:
        raise FeeCapTooLow(
            bumped.max_fee,
            cap,
            f"a replacement on {chain} needs {_gwei(bumped.max_fee)} gwei for a unit of gas, {_gwei(cap)} are the most "
            f"it may offer (fee option replacement_cap, fee_max, or what its sender holds): it stays as it is",
        )
    max_fee = min(higher.max_fee, cap)
    return GasPrice(max_fee, None if higher.tip is None else min(higher.tip, max_fee))


def _most(paid: int, policy: FeePolicy) -> int:
    """Of a price, where the last blocks were paid so much."""
    return max(PRICE_RISE_MAX * paid, policy.cap // 20)


def _not_far_above(asked: int, paid: int, policy: FeePolicy, chain: str) -> None:
    """Raises FeeCapTooLow."""
    most = _most(paid, policy)
    if asked > most:
        raise FeeCapTooLow(
            asked,
            most,
            f"the nodes of {chain} ask for {_gwei(asked)} gwei for a unit of gas (base fee aside), the last blocks "
            "were paid "
            f"{_gwei(paid)} gwei: payments wait until both agree; if they never do, find out which node makes prices "
            "up",
        )


def _asked(market: Market, policy: FeePolicy, legacy: bool) -> GasPrice:
    """Twice the base fee and a tip (six full blocks in a row may come between), or the gas price."""
    if legacy:
        return GasPrice(max(market.gas_price, policy.floor), None)
    tip = max(market.tip, policy.floor)
    return GasPrice(2 * (market.base or 0) + tip, tip)


def with_margin(gas: int, percent: int) -> int:
    """Rounded up."""
    return -(-gas * (100 + percent) // 100)


def _within_cap(needed: int, policy: FeePolicy, chain: str, what: str) -> None:
    if needed > policy.cap:
        raise FeeCapTooLow(
            needed,
            policy.cap,
            f"the {what} on {chain} is {_gwei(needed)} gwei, the cap is {_gwei(policy.cap)}: "
            f"payments wait until it falls or the cap is raised",
        )


async def _read(node: EvmNode, percentile: int) -> Market:
    price, history = await node.batch(
        [("eth_gasPrice", []), ("eth_feeHistory", [hex(HISTORY_BLOCKS), "latest", [percentile]])]
    )
    with reading(node, "eth_gasPrice"):
        gas_price = quantity(wanted(price), "the gas price", MAX_PRICE)
    with reading(node, "eth_feeHistory"):
        found = wanted(history)
        bases = [quantity(base, "baseFeePerGas", MAX_PRICE) for base in _listed(found, "baseFeePerGas")]
        ratios, rewards = _listed(found, "gasUsedRatio"), _listed(found, "reward")
        if bases and len(bases) != len(ratios) + 1:
            raise MalformedAnswer("baseFeePerGas", len(bases), f"one more than the {len(ratios)} blocks")
        # Empty blocks say 0, which nobody paid.
        said = [sequence(reward, "reward", 1) for reward, used in zip(rewards, ratios, strict=False) if used]
        tips = sorted(quantity(reward[0], "reward", MAX_PRICE) for reward in said if reward)
    base = bases[-1] if bases else None
    paid = tips[len(tips) // 2] if tips else None
    return Market(base, max(0, gas_price - (base or 0)) if paid is None else paid, gas_price, paid)


def _listed(history: Any, name: str) -> list[Any]:
    """Of each of the last blocks; nothing where the node does not say it. Raises MalformedAnswer."""
    found = field(history, name)
    return [] if found is None else sequence(found, name, HISTORY_BLOCKS + 1)


def _option(name: str, value: Any) -> Any:
    if name == "legacy":
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"fee option legacy is {value!r}: it must be true, false or null")
        return value
    if name in ("replacement_cap", "l1_oracle") and value is None:
        return None
    if name == "l1_oracle":
        return _oracle(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"fee option {name} is {value!r}: it must be a whole number, 0 or more")
    return value


def _oracle(value: Any) -> str:
    if value == NO_ORACLE:
        return NO_ORACLE
    try:
        return address.validate(str(value).lower())  # whatever its checksum: nothing is ever sent to it
    except InvalidAddress as error:
        raise ValueError(f"fee option l1_oracle is {value!r}: a contract's address, none or null ({error})") from error


def _gwei(wei: int) -> str:
    return to_human(wei, _GWEI_DECIMALS)
