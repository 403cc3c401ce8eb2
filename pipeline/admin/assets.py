"""What operators do to tokens: add one, set its thresholds, switch it on and off (sql/functions/admin_assets.sql). Its
contract is asked first what it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from pipeline.admin.addresses import canonical_address
from pipeline.admin.chains import find as find_chain
from pipeline.admin.errors import Conflict
from pipeline.admin.nodes import checked_chain, compare_token
from pipeline.admin.refusals import act
from pipeline.catalog.chains import ChainRow
from pipeline.settings import Settings
from pipeline.units import parse_raw


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its thresholds, raw units."""

    chain: str
    symbol: str
    contract_address: str
    decimals: int
    is_active: bool
    flag_above: int
    """needs_consolidation rises above this balance."""
    execute_min: int
    """A consolidation is sent from this balance on."""
    transfer_tolerance: int
    """Raw units that a transfer may arrive short."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Token":
        """Out of assets/get or assets/list."""
        return cls(
            row["chain"],
            row["symbol"],
            row["contract_address"],
            row["decimals"],
            row["is_active"],
            parse_raw(row["consolidate_flag_above"]),
            parse_raw(row["consolidate_execute_min"]),
            int(row["transfer_tolerance"]),
        )


@dataclass(frozen=True, slots=True)
class Described:
    """What a contract says that it is, or what an operator says of it."""

    contract_address: str
    symbol: str
    decimals: int


async def find(connection: AsyncConnection[Any], chain: str, token: str) -> Token:
    """A token by its symbol or its contract. Raises NotFound, naming those there are; Conflict for several of that
    symbol."""
    return Token.of(await _row(connection, chain, token))


async def describe(
    connection: AsyncConnection[Any],
    settings: Settings,
    chain: str,
    contract: str,
    *,
    symbol: str | None = None,
    decimals: int | None = None,
    ask_nodes: bool = True,
) -> Described:
    """What is to be added: ``symbol`` and ``decimals`` as the contract has them, or as they are given where no node is
    asked.

    Raises InvalidValue for an address or a contract that is none, or that disagrees with what is given; Conflict where
    it is there already, or another token of that symbol, which is most often a false one.
    """
    row = await find_chain(connection, chain)
    address = canonical_address(row["family"], contract)
    known = await act(connection, "assets/list", chain=chain)
    for one in known:
        if one["contract_address"] == address:
            off = "" if one["is_active"] else f", switched off: flagpost assets enable {chain} {one['symbol']}"
            raise Conflict(f"{address} is on {chain} already as {one['symbol']}{off}")
    if ask_nodes:
        wanted = {"contract_address": address, "symbol": symbol, "decimals": decimals}
        async with checked_chain(settings, ChainRow.of(row)) as provider:
            found = await compare_token(provider, chain, wanted)
        symbol, decimals = found.symbol, found.decimals
    assert symbol is not None  # noqa: S101 - for the type checker: given where nobody is asked
    assert decimals is not None  # noqa: S101
    for one in known:
        if one["symbol"].upper() == symbol.upper():
            where = one["contract_address"] or "the native coin"
            raise Conflict(
                f"{chain} has a {one['symbol']} already: {where}; this one calls itself {symbol} too",
                "make sure that it is not a false one; two of one name cannot be told apart in settings",
            )
    return Described(address, symbol, decimals)


async def add(
    connection: AsyncConnection[Any],
    chain: str,
    token: Described,
    *,
    flag_above: int,
    execute_min: int,
    tolerance: int = 0,
    is_active: bool = True,
    admin: UUID | None = None,
) -> Token:
    """Watch and move one more token; thresholds in raw units. Every wallet of the chain gets a balance of it, due at
    once. Raises Conflict where it is there already, InvalidValue for thresholds that contradict each other."""
    await act(
        connection,
        "assets/add",
        chain=chain,
        contract=token.contract_address,
        symbol=token.symbol,
        decimals=token.decimals,
        flag_above=flag_above,
        execute_min=execute_min,
        tolerance=tolerance,
        is_active=is_active,
        admin=admin,
    )
    return await find(connection, chain, token.contract_address)


async def set_thresholds(
    connection: AsyncConnection[Any],
    chain: str,
    token: str,
    *,
    flag_above: int | None = None,
    execute_min: int | None = None,
    tolerance: int | None = None,
    admin: UUID | None = None,
) -> Token:
    """When a token is moved, raw units (None: as it is); the token as it is now. All wallets of the chain are evaluated
    anew. Raises NotFound, InvalidValue."""
    await act(
        connection,
        "assets/set_thresholds",
        chain=chain,
        token=token,
        flag_above=flag_above,
        execute_min=execute_min,
        tolerance=tolerance,
        admin=admin,
    )
    return await find(connection, chain, token)


async def enable(
    connection: AsyncConnection[Any],
    settings: Settings,
    chain: str,
    token: str,
    *,
    ask_nodes: bool = True,
    admin: UUID | None = None,
) -> Token:
    """Switch a token on; its contract is asked for symbol and decimals first. The token as it was. Raises NotFound,
    NodeUnavailable, InvalidValue."""
    row = await _row(connection, chain, token)
    if ask_nodes:
        async with checked_chain(settings, ChainRow.of(await find_chain(connection, chain))) as provider:
            await compare_token(provider, chain, row)
    await act(connection, "assets/set_active", chain=chain, token=token, active=True, admin=admin)
    return Token.of(row)


async def disable(connection: AsyncConnection[Any], chain: str, token: str, *, admin: UUID | None = None) -> Token:
    """Switch a token off: neither read nor moved; payments that are out are followed to their end. The token as it was.
    Raises NotFound."""
    before = await find(connection, chain, token)
    await act(connection, "assets/set_active", chain=chain, token=token, active=False, admin=admin)
    return before


async def _row(connection: AsyncConnection[Any], chain: str, token: str) -> DictRow:
    (row,) = await act(connection, "assets/get", chain=chain, token=token)
    return row
