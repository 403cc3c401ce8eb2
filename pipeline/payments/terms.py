"""The rules of one chain at one moment: what decisions are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from pipeline.chains.errors import FeeCapTooLow
from pipeline.chains.values import Asset
from pipeline.units import parse_raw, to_human


class GasPolicy(StrEnum):
    """When a wallet gets gas, and how much."""

    THRESHOLD = "threshold"
    """Below ``gas_execute_below``: ``gas_amount``. Keeps every wallet ready to move."""
    ON_DEMAND = "on_demand"
    """Only a wallet with tokens to move: what their transfer lacks. Keeps no coin idle."""


@dataclass(frozen=True, slots=True)
class AssetTerms:
    """One asset and its thresholds, raw units."""

    id: UUID
    asset: Asset
    execute_min: int | None
    """Tokens: the least balance that is worth a consolidation. None for the native coin."""

    def human(self, raw: int) -> str:
        """``5 TRX``."""
        return f"{to_human(raw, self.asset.decimals)} {self.asset.symbol}"


@dataclass(frozen=True, slots=True)
class Terms:
    """One chain's rules; amounts in native raw units, times in seconds."""

    chain_id: int
    chain: str
    policy: GasPolicy
    gas_execute_below: int
    gas_amount: int
    gas_max_per_topup: int
    fee_reserve: int
    fee_max: int
    """The most that one transaction may cost."""
    topup_fee_multiple: Decimal
    """A top-up is worth at least so many times its own fee."""
    block_seconds: float
    lifetime_seconds: float
    native: AssetTerms
    tokens: tuple[AssetTerms, ...]
    """Active tokens in the order of their ids."""
    refused: Mapping[UUID, str] = field(default_factory=dict)
    """Tokens among them that this host may not move, by id, and why: their contracts are not in its policy."""

    def asset(self, asset_id: UUID) -> AssetTerms | None:
        """The terms of an asset, None when it is not active."""
        return next((one for one in (self.native, *self.tokens) if one.id == asset_id), None)

    def check_fee(self, fee: int) -> None:
        """Raises FeeCapTooLow for a transaction that could cost more than is allowed."""
        if fee > self.fee_max:
            raise FeeCapTooLow(
                fee,
                self.fee_max,
                f"a transaction on {self.chain} could cost {self.native.human(fee)}, {self.chain}.fee_max is "
                f"{self.native.human(self.fee_max)}: wait, or find out why the node asks for so much; "
                f"flagpost config set {self.chain}.fee_max",
            )

    def least_topup(self, fee: int) -> int:
        """What a top-up is worth at least, native raw units, whose own fee is ``fee``."""
        return int((fee * self.topup_fee_multiple).to_integral_value(ROUND_CEILING))

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "Terms":
        """From ``payments/send/terms``: the native coin's row first. Raises ValueError when the chain has none."""
        if not rows or rows[0]["contract_address"] is not None:
            raise ValueError("the chain has no native coin in asset_on_chain: add it with contract_address NULL")
        first = rows[0]
        native, *tokens = (_asset(row) for row in rows)
        return cls(
            chain_id=first["chain_id"],
            chain=first["chain"],
            policy=GasPolicy(first["gas_policy"]),
            gas_execute_below=parse_raw(first["gas_execute_below"]),
            gas_amount=parse_raw(first["gas_amount"]),
            gas_max_per_topup=parse_raw(first["gas_max_per_topup"]),
            fee_reserve=parse_raw(first["fee_reserve"]),
            fee_max=parse_raw(first["fee_max"]),
            topup_fee_multiple=first["topup_fee_multiple"],
            block_seconds=first["block_seconds"],
            lifetime_seconds=first["lifetime_seconds"],
            native=native,
            tokens=tuple(tokens),
        )


def _asset(row: Mapping[str, Any]) -> AssetTerms:
    minimum = row["consolidate_execute_min"]
    return AssetTerms(
        id=row["asset_id"],
        asset=Asset(row["symbol"], row["decimals"], row["contract_address"], int(row["transfer_tolerance"])),
        execute_min=None if minimum is None else parse_raw(minimum),
    )
