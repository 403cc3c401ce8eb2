"""Doctor's questions about the price of gas on an EVM chain: does the cap let anything through, do amounts cover it."""

from collections.abc import Callable

from pipeline.admin.checks.findings import Findings
from pipeline.admin.gas_defaults import TRANSFER_GAS
from pipeline.admin.session import Row
from pipeline.chains.errors import FeeCapTooLow
from pipeline.chains.provider import GasProvider
from pipeline.units import parse_raw, to_human


async def check_fees(found: Findings, chain: Row, coins: Callable[[int], str], gas: GasProvider) -> None:
    """The network's price against fees.cap, and a token transfer's fee against what a top-up may send."""
    name, check = chain["name"], f"{chain['name']}.fees"
    market, l1_fee = await gas.market(), await gas.l1_fee(TRANSFER_GAS)
    asked = "no base fee" if not market.base else f"base fee {_gwei(market.base)} gwei"
    try:
        max_fee = await gas.max_fee()
    except FeeCapTooLow as error:
        found.warn(
            check,
            str(error),
            f"wait until it falls, or: flagpost config set {name}.fees.cap '{_gwei(2 * error.needed)} gwei'",
        )
        return
    price = TRANSFER_GAS * max_fee + l1_fee
    text = f"{name}: {asked}, max fee {_gwei(max_fee)} gwei (cap {_gwei(gas.gas_cap)}); "
    text += f"a token transfer needs up to {coins(price)}"
    text += f", {coins(l1_fee)} of it for its data on L1" if l1_fee else ""
    most, amount = parse_raw(chain["gas_max_per_topup"]), parse_raw(chain["gas_amount"])
    if price > most:
        found.warn(
            check,
            f"{text}, more than the {coins(most)} allowed for a top-up",
            f"raise {name}.gas_max_per_topup, or wait until the price falls",
        )
    elif chain["gas_policy"] == "threshold" and price > amount:
        found.warn(
            check,
            f"{text}, more than gas_amount ({coins(amount)}): top-ups are as large as the transfer needs",
            f"raise {name}.gas_amount, or: flagpost config set {name}.gas_policy on_demand",
        )
    else:
        found.ok(check, text)


def _gwei(wei: int) -> str:
    return to_human(wei, 9)
