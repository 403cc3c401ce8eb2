"""Rules to decide from: the defaults of the automation, on a chain with two tokens."""

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from pipeline.chains.values import Asset
from pipeline.payments.terms import AssetTerms, GasPolicy, Terms

TRX = 1_000_000
USDT = 1_000_000

DEFAULT = Terms(
    chain_id=1,
    chain="tron",
    policy=GasPolicy.THRESHOLD,
    gas_execute_below=1 * TRX,
    gas_amount=5 * TRX,
    gas_max_per_topup=50 * TRX,
    fee_reserve=1 * TRX,
    fee_max=10**15,
    topup_fee_multiple=Decimal(3),
    block_seconds=3.0,
    lifetime_seconds=180.0,
    native=AssetTerms(UUID(int=1), Asset("TRX", 6), None),
    tokens=(
        AssetTerms(UUID(int=2), Asset("USDT", 6, "T-usdt"), 100 * USDT),
        AssetTerms(UUID(int=3), Asset("USDC", 6, "T-usdc"), 50 * USDT),
    ),
)


def terms(**changes: Any) -> Terms:
    return replace(DEFAULT, **changes)
