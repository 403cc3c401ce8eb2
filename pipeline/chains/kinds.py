"""Why money moves: what a payment is for."""

from enum import StrEnum

GAP_AMOUNT = 1
"""Wei that a sender pays itself to use up a nonce: a payment of nothing could not be told from no payment."""


class Kind(StrEnum):
    """Why money moves."""

    GAS = "gas"
    CONSOLIDATION = "consolidation"
    GAP = "gap"
    """A sender pays itself, to use up a nonce that later payments wait behind (EVM). Nobody's job."""
