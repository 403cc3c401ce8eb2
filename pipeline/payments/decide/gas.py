"""Whether a wallet gets gas now, and how much. Pure."""

from pipeline.payments.decide.decisions import Holdings, Pay, Skip, native_needed
from pipeline.payments.terms import GasPolicy, Terms


def decide_gas(terms: Terms, holdings: Holdings, transfer_fee: int | None) -> Pay | Skip:
    """Decide a top-up from balances read at a final block.

    ``transfer_fee`` is the estimated fee, in native raw units, of all transfers that ``ready_tokens`` names;
    None when the wallet has none to make or when the chain says that they would fail.
    """
    native = terms.native
    missing = 0 if transfer_fee is None else max(0, native_needed(terms, transfer_fee) - holdings.native)
    if terms.policy is GasPolicy.ON_DEMAND:
        if transfer_fee is None:
            return Skip("no tokens to move: policy on_demand gives gas only to a transfer")
        if not missing:
            return Skip(f"holds {native.human(holdings.native)}, enough for its transfer")
        return Pay(native, min(missing, terms.gas_max_per_topup))
    if holdings.native >= terms.gas_execute_below and not missing:
        return Skip(f"holds {native.human(holdings.native)}, not below {native.human(terms.gas_execute_below)}")
    return Pay(native, min(max(terms.gas_amount, missing), terms.gas_max_per_topup))
