"""Gas amounts for a chain that is added without any: TRON's are fixed, an EVM chain's follow its price of gas."""

from dataclasses import dataclass

from pipeline.chains.provider import GasPrices

TRANSFER_GAS = 65_000
"""What a token transfer takes, to a receiver that holds none yet."""
CHEAPEST = 10**7
"""Wei for a unit of gas: no chain is taken to be cheaper for ever."""
AMOUNTS = (
    "gas_flag_below",
    "gas_execute_below",
    "gas_amount",
    "fee_reserve",
    "gas_max_per_topup",
    "gas_max_per_wallet_day",
    "gas_max_per_day",
)


@dataclass(frozen=True, slots=True)
class GasDefaults:
    """Raw units of the coin by column of ``chains``, and where they come from."""

    amounts: dict[str, int]
    how: str


def tron_defaults() -> GasDefaults:
    """5 TRX below 1 TRX, flagged below 5 TRX."""
    return _multiples(10**6, (5, 1, 5, 1, 50, 100, 10_000), "default")


def evm_defaults(market: GasPrices | None, l1_fee: int = 0) -> GasDefaults:
    """In multiples of one token transfer's price: a top-up pays for ten, the flag rises below four.

    ``market`` None: 1 gwei is assumed. ``l1_fee``: what a rollup charges
    for its part on L1, wei.
    """
    price = 10**9 if market is None else max(2 * (market.base or 0) + market.tip, market.gas_price, CHEAPEST)
    one = _rounded_up(TRANSFER_GAS * price + l1_fee)
    how = "by 1 gwei for a unit of gas" if market is None else "by the price of gas now"
    return _multiples(one, (4, 2, 10, 1, 100, 400, 40_000), how)


def _multiples(unit: int, numbers: tuple[int, ...], how: str) -> GasDefaults:
    return GasDefaults({name: unit * number for name, number in zip(AMOUNTS, numbers, strict=True)}, how)


def _rounded_up(raw: int) -> int:
    """To one digit, for people: 71,500 becomes 80,000."""
    scale = int("1" + "0" * (len(str(raw)) - 1))
    return -(-raw // scale) * scale
