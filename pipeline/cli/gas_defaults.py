"""Gas amounts for a chain that is added without any: TRON's are the contract's, an EVM chain's follow its price of gas."""

from dataclasses import dataclass
from typing import Any

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
    trx = 10**6
    return GasDefaults(
        dict(zip(AMOUNTS, (5 * trx, trx, 5 * trx, trx, 50 * trx, 100 * trx, 10_000 * trx), strict=True)), "default"
    )


def evm_defaults(market: Any) -> GasDefaults:
    """In multiples of one token transfer's price: a top-up pays for ten, the flag rises below four.

    ``market`` is the network's (``chains.evm.fees.Market``); None: 1 gwei is assumed.
    """
    price = 10**9 if market is None else max(2 * (market.base or 0) + market.tip, market.gas_price, CHEAPEST)
    one = _rounded_up(TRANSFER_GAS * price)
    amounts = dict(
        zip(AMOUNTS, (4 * one, 2 * one, 10 * one, one // 2, 100 * one, 400 * one, 40_000 * one), strict=True)
    )
    return GasDefaults(amounts, "by 1 gwei for a unit of gas" if market is None else "by the price of gas now")


def _rounded_up(raw: int) -> int:
    """To one digit, for people: 71,500 becomes 80,000."""
    scale = 10 ** (len(str(raw)) - 1)
    return -(-raw // scale) * scale
