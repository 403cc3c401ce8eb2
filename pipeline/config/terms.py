"""The terms of chains and assets: policies, thresholds and limits that are columns of chains and asset_on_chain.

Addressed as ``tron.gas_policy``, ``tron.gas_flag_below``, ``tron.USDT.consolidate_flag_above`` and, on EVM chains,
``bsc.fees.cap``. Amounts are given in human units with their symbol (``"5 TRX"``) or as whole raw units (``5000000``).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import errors

from pipeline.config.errors import ConfigError, unknown_key
from pipeline.db.pool import Connection
from pipeline.db.rows import execute, fetch
from pipeline.units import InvalidAmount, parse_raw, to_human, to_raw


class TermKind(StrEnum):
    """What a term's value is."""

    AMOUNT = "amount"
    DURATION = "duration"
    FLAG = "true or false"
    POLICY = "policy"
    COUNT = "a whole number"
    PERCENT = "a whole number of percents"
    FACTOR = "a number"
    GAS_PRICE = "wei for a unit of gas"
    ORACLE = "a contract's address, or none"


@dataclass(frozen=True, slots=True)
class _Column:
    kind: TermKind
    description: str
    optional: bool = False
    default: Any = None
    """Of what is kept in chains.fees, where a name may be missing."""


CHAIN_TERMS: Mapping[str, _Column] = {
    "is_active": _Column(TermKind.FLAG, "Whether balances are read and payments made on this chain"),
    "gas_policy": _Column(
        TermKind.POLICY, "threshold: keep gas in every wallet; on_demand: send gas only where tokens are to be moved"
    ),
    "gas_flag_below": _Column(TermKind.AMOUNT, "Balance below which the sync raises needs_gas"),
    "gas_execute_below": _Column(TermKind.AMOUNT, "Balance, read at execution, below which a top-up is sent"),
    "gas_amount": _Column(TermKind.AMOUNT, "Amount of a top-up under gas policy threshold"),
    "fee_reserve": _Column(TermKind.AMOUNT, "Native balance that a wallet needs for the fee of a consolidation"),
    "gas_cooldown": _Column(TermKind.DURATION, "Seconds between two top-ups of the same wallet"),
    "gas_max_per_topup": _Column(TermKind.AMOUNT, "Largest amount of one top-up"),
    "gas_max_per_wallet_day": _Column(TermKind.AMOUNT, "Most gas sent to one wallet in 24 hours"),
    "gas_max_per_day": _Column(TermKind.AMOUNT, "Most gas sent on this chain in 24 hours"),
    "gas_max_total": _Column(TermKind.AMOUNT, "Most gas sent on this chain in all (null: no limit)", optional=True),
    "fee_max": _Column(TermKind.AMOUNT, "Highest fee of one transaction, whatever a node estimates"),
    "fee_rise_max": _Column(
        TermKind.FACTOR, "Highest fee of one transaction as a multiple of what such payments cost in the last 24 hours"
    ),
    "topup_fee_multiple": _Column(TermKind.FACTOR, "A top-up sends at least this many times its own fee"),
    "sync_interval": _Column(TermKind.DURATION, "Seconds between two reads of a balance that nothing moved"),
    "transaction_lifetime": _Column(
        TermKind.DURATION, "Seconds until a signed transaction expires that is in no block (TRON)"
    ),
    "clock_ahead": _Column(TermKind.DURATION, "Seconds a block's time may be ahead of the database's clock"),
}

GWEI = 10**9

EVM_TERMS: Mapping[str, _Column] = {
    "replace_after_blocks": _Column(
        TermKind.COUNT, "Blocks after which a pending transaction is replaced with a higher fee"
    ),
}

FEE_TERMS: Mapping[str, _Column] = {
    "legacy": _Column(
        TermKind.FLAG, "Legacy transactions, with a gas price alone (null: where the base fee is 0)", optional=True
    ),
    "cap": _Column(
        TermKind.GAS_PRICE, "Maximum gas price of a first attempt; payments wait above it", default=500 * GWEI
    ),
    "replacement_cap": _Column(
        TermKind.GAS_PRICE, "Maximum gas price of a replacement (null: twice fees.cap)", optional=True
    ),
    "floor": _Column(TermKind.GAS_PRICE, "Minimum gas price (legacy) or tip", default=0),
    "tip_percentile": _Column(
        TermKind.PERCENT, "Percentile of the tips paid in recent blocks that is used as tip", default=50
    ),
    "gas_margin_percent": _Column(
        TermKind.COUNT, "Margin on the estimated gas of a token transfer, percent", default=20
    ),
    "l1_oracle": _Column(
        TermKind.ORACLE,
        "Contract that tells the L1 fee of a rollup (null: the OP Stack's, where there is one; none: no L1 fee)",
        optional=True,
    ),
    "l1_margin_percent": _Column(TermKind.COUNT, "Margin on the L1 fee that fees.l1_oracle tells, percent", default=50),
}
"""The entries of chains.fees on EVM chains; a test holds them against ``chains.evm.fees.FeePolicy``."""

ASSET_TERMS: Mapping[str, _Column] = {
    "is_active": _Column(TermKind.FLAG, "Whether balances of the token are read and consolidated"),
    "consolidate_flag_above": _Column(TermKind.AMOUNT, "Balance above which the sync raises needs_consolidation"),
    "consolidate_execute_min": _Column(TermKind.AMOUNT, "Smallest balance that a consolidation moves"),
    "transfer_tolerance": _Column(
        TermKind.AMOUNT,
        "How much less than was sent may arrive: 10 raw units at the most (share-based tokens such as stETH)",
    ),
}

CONTRADICTIONS: Mapping[str, str] = {
    "gas_is_executed_only_where_it_is_flagged": (
        "gas_execute_below must not be above gas_flag_below: a top-up is executed only where needs_gas is flagged"
    ),
    "a_topup_lifts_the_wallet_over_execute_below": (
        "gas_amount must be at least gas_execute_below: otherwise a wallet is short again right after its top-up"
    ),
    "a_topup_covers_the_fee_reserve": (
        "gas_amount must be at least fee_reserve: otherwise no top-up ever lets a consolidation start"
    ),
    "a_topup_fits_its_own_limit": "gas_amount must not be above gas_max_per_topup",
    "topups_are_worth_their_fee": "topup_fee_multiple is a number from 1 to 1,000",
    "fees_rise_within_bounds": "fee_rise_max is a number from 2 to 1,000,000",
    "gas_limits_grow": "gas_max_per_topup ≤ gas_max_per_wallet_day ≤ gas_max_per_day must hold",
    "consolidation_is_executed_where_it_is_flagged": (
        "consolidate_execute_min must be above 0 and not above consolidate_flag_above: "
        "otherwise wallets are flagged for a consolidation that is never executed"
    ),
    "intervals_are_at_most_a_year": "at most 366 days, transaction_lifetime at most a day, gas_cooldown not below 0",
    "tokens_have_thresholds_and_coins_have_none": "only tokens have consolidation thresholds, and they need both",
    "a_tolerance_is_ten_units_at_the_most": "transfer_tolerance is 10 raw units at the most: more would be a fee",
    "a_tolerance_is_a_millionth_at_the_most": (
        "transfer_tolerance is a millionth of consolidate_execute_min at the most: a fee could hide in more"
    ),
}
"""Rules between terms, CHECK constraints of chains and asset_on_chain (sql/migrations), as sentences."""

SENTENCES: Mapping[str, str] = {
    **CONTRADICTIONS,
    "chains_gas_amount_check": "gas_amount must be above 0",
    "chains_fee_max_check": "fee_max must be above 0; null: no limit of ours",
    "chains_sync_interval_check": "sync_interval must be above 0",
    "chains_block_time_check": "block_time must be above 0",
    "chains_transaction_lifetime_check": "transaction_lifetime must be above 0",
    "chains_replace_after_blocks_check": "replace_after_blocks must be at least 1",
    "chains_name_check": "a name has lower case letters, digits and hyphens, and begins with a letter",
    "asset_on_chain_decimals_check": "decimals are 0 to 36",
    "raw_amount_is_not_negative": "an amount is not negative",
    "raw_amount_is_whole": "an amount is a whole number of raw units",
    "raw_amount_has_at_most_78_digits": "an amount has 78 digits at the most",
}
"""The same and the bounds of single columns and of raw amounts."""

LONGEST_SECONDS = 3_650 * 86_400
"""Of durations: ten years."""
MOST = 100_000
"""Of counts: anything above is a slip of the hand."""
_HUMAN_AMOUNT = re.compile(r"\s*([0-9][0-9_.]*)\s*([A-Za-z][A-Za-z0-9.-]*)\s*")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|)\w*\s*")
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Term:
    """One term in force."""

    key: str
    value: Any
    """Amounts in human units with their symbol, durations in seconds."""
    description: str
    default: Any = None
    """In force where nothing is set; None for columns, which always are."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a term is stored."""

    chain: str
    token: str | None
    """Its contract; None: the term is the chain's."""
    column: str
    kind: _Column
    symbol: str
    decimals: int
    current: Any
    fees: Mapping[str, Any] | None = None
    """chains.fees where ``column`` is one entry of it."""


async def describe_terms(connection: Connection) -> list[Term]:
    """Every term of every chain and token."""
    return [
        Term(key, _shown(place, place.current), place.kind.description, _shown(place, place.kind.default))
        for key, place in (await _places(connection)).items()
    ]


async def is_term(connection: Connection, key: str) -> bool:
    """Whether ``key`` starts with the name of a chain."""
    return "." in key and key.split(".")[0] in {name.split(".")[0] for name in await _places(connection)}


async def set_term(connection: Connection, key: str, value: Any, *, admin: UUID | None = None) -> None:
    """Write one term, for ``admin`` (auth.users.id). Raises ConfigError naming the key, or the rule that the new value
    would break."""
    places = await _places(connection)
    place = places.get(key)
    if place is None:
        raise unknown_key(key, places)
    stored = _stored(key, place, value)
    given = {"chain": place.chain, "token": place.token, "rule": place.column, "value": _text(stored), "admin": admin}
    if place.fees is not None:
        _check_fees(key, place, stored)
        given |= {"rule": f"fees.{place.column}", "value": json.dumps(stored)}
    write = "config/set_chain_rule" if place.token is None else "config/set_asset_rule"
    try:
        await execute(connection, write, **given)
    except errors.CheckViolation as error:
        rule = SENTENCES.get(error.diag.constraint_name or "")
        raise ConfigError(f"{key} cannot be {value}: {rule or error.diag.message_primary}") from None


async def _places(connection: Connection) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for row in await fetch(connection, "config/chains"):
        for column, kind in CHAIN_TERMS.items():
            places[f"{row['name']}.{column}"] = _place(row, None, column, kind)
        if row["family"] == "evm":
            for column, kind in EVM_TERMS.items():
                places[f"{row['name']}.{column}"] = _place(row, None, column, kind)
            for column, kind in FEE_TERMS.items():
                places[f"{row['name']}.fees.{column}"] = _fee_place(row, column, kind)
    for row in await fetch(connection, "config/assets"):
        for column, kind in ASSET_TERMS.items():
            places[f"{row['name']}.{row['symbol']}.{column}"] = _place(row, row["contract_address"], column, kind)
    return places


def _place(row: Mapping[str, Any], token: str | None, column: str, kind: _Column) -> _Place:
    return _Place(row["name"], token, column, kind, row["symbol"] or "", row["decimals"] or 0, row[column])


def _fee_place(row: Mapping[str, Any], column: str, kind: _Column) -> _Place:
    fees = row["fees"]
    return _Place(row["name"], None, column, kind, "gwei", 9, fees.get(column, kind.default), fees)


def _shown(place: _Place, value: Any) -> Any:
    if value is None:
        return None
    match place.kind.kind:
        case TermKind.AMOUNT | TermKind.GAS_PRICE:
            return f"{to_human(parse_raw(value), place.decimals)} {place.symbol}".strip()
        case TermKind.DURATION:
            return value.total_seconds()
        case TermKind.FACTOR:
            return int(value) if value == int(value) else float(value)
    return value


def _stored(key: str, place: _Place, value: Any) -> Any:
    """``value`` as the column takes it. Raises ConfigError."""
    if value is None:
        if place.kind.optional:
            return None
        raise ConfigError(f"{key} needs a value")
    match place.kind.kind:
        case TermKind.AMOUNT | TermKind.GAS_PRICE:
            return _amount(key, place, value)
        case TermKind.COUNT | TermKind.PERCENT:
            return _count(key, value, most=100 if place.kind.kind is TermKind.PERCENT else MOST)
        case TermKind.DURATION:
            return f"{_seconds(key, value)} seconds"
        case TermKind.FACTOR:
            return _factor(key, value)
        case TermKind.FLAG if not isinstance(value, bool):
            raise ConfigError(f"{key} takes true or false, not {value!r}")
        case TermKind.ORACLE if value != "none" and not (isinstance(value, str) and _ADDRESS.fullmatch(value)):
            raise ConfigError(f"{key} takes a contract's address (0x and 40 hex digits), none or null, not {value!r}")
        case TermKind.POLICY if value not in ("threshold", "on_demand"):
            raise ConfigError(f"{key} takes threshold or on_demand, not {value!r}")
    return value


def human_amount(key: str, text: str, symbol: str, decimals: int) -> int | None:
    """Raw units of ``"5 TRX"``; None for what names no symbol. ``key`` is for the message.

    Raises ConfigError for another symbol, InvalidAmount for a number with too many decimals."""
    human = _HUMAN_AMOUNT.fullmatch(text)
    if human is None:
        return None
    if human[2].upper() != symbol.upper():
        raise ConfigError(f"{key} is an amount of {symbol}, not of {human[2]}")
    return to_raw(human[1].replace("_", ""), decimals)


def _amount(key: str, place: _Place, value: Any) -> int:
    """Raw units."""
    try:
        human = human_amount(key, value, place.symbol, place.decimals) if isinstance(value, str) else None
        if human is not None:
            return human
        # JSON's 1.5 is a float, and only a fraction to the person who typed it.
        return parse_raw(str(value) if isinstance(value, float) else value)
    except InvalidAmount as error:
        example = (
            f'"{to_human(5 * 10**place.decimals, place.decimals)} {place.symbol}" or raw units {5 * 10**place.decimals}'
        )
        raise ConfigError(f"{key}: {error}; write it like {example}") from None


def _count(key: str, value: Any, *, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ConfigError(f"{key} takes a whole number from 0 to {most}, not {value!r}")
    return value


def _factor(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MOST:
        raise ConfigError(f"{key} takes a number from 1 to {MOST}, not {value!r}")
    return str(value)


def _text(stored: Any) -> str | None:
    """A value as SQL reads it from text."""
    return str(stored).lower() if isinstance(stored, bool) else None if stored is None else str(stored)


def _check_fees(key: str, place: _Place, value: Any) -> None:
    """Raises ConfigError where one entry of chains.fees would contradict another."""
    fees = {**(place.fees or {}), place.column: value}
    known = {name: fees.get(name, column.default) for name, column in FEE_TERMS.items()}
    if known["cap"] <= known["floor"]:
        raise ConfigError(f"{key}: fees.cap must be above fees.floor, or no gas price would be allowed")
    if known["replacement_cap"] is not None and known["replacement_cap"] < known["cap"]:
        raise ConfigError(f"{key}: fees.replacement_cap must not be below fees.cap")


def _seconds(key: str, value: Any) -> str:
    match_ = None if isinstance(value, bool) else _DURATION.fullmatch(str(value))
    if match_ is None:
        raise ConfigError(f"{key} takes seconds, or a duration such as 10m or 2h, not {value!r}")
    seconds = float(match_[1]) * _UNIT_SECONDS[match_[2]]
    if seconds > LONGEST_SECONDS:
        raise ConfigError(f"{key} is {LONGEST_SECONDS // 86_400} days at the most, not {value!r}")
    return f"{seconds:.3f}"
