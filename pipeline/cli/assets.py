"""``flagpost assets``: which tokens are watched and moved. A token is asked what it is before it is taken."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer
from rich.markup import escape

from pipeline.cli.chain_access import chain_row, checked_chain, compare_token
from pipeline.cli.output import CommandError, err, out, print_json, print_table, usage
from pipeline.cli.policy import say_gaps
from pipeline.cli.session import Connection, Row, canonical_address, chain_named, database
from pipeline.config import ConfigError
from pipeline.config.terms import SENTENCES, human_amount
from pipeline.db.statements import statement
from pipeline.settings import Settings
from pipeline.units import InvalidAmount, parse_raw, to_human

app = typer.Typer(no_args_is_help=True, help="Tokens: add, list, thresholds, enable, disable. No restart needed.")

MOST_TOLERATED = 10
"""Raw units, by a check of asset_on_chain."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
ChainArgument = Annotated[str, typer.Argument(help="Name of the chain, as `flagpost chains list` prints it.")]
SymbolArgument = Annotated[str, typer.Argument(help="Symbol of the token, or its contract address.")]
FlagOption = Annotated[
    str | None, typer.Option("--flag-above", help="needs_consolidation rises above this, e.g. '200 USDT'.")
]
ExecuteOption = Annotated[
    str | None, typer.Option("--execute-min", help="A consolidation is sent only from this on, e.g. '100 USDT'.")
]
ToleranceOption = Annotated[
    int | None,
    typer.Option(min=0, max=MOST_TOLERATED, help="Raw units that a transfer may arrive short: tokens kept as shares."),
]


@app.command()
def add(
    chain: ChainArgument,
    contract: Annotated[str, typer.Argument(help="Address of the token's contract.")],
    flag_above: FlagOption = None,
    execute_min: ExecuteOption = None,
    tolerance: ToleranceOption = None,
    symbol: Annotated[str | None, typer.Option(help="What you take it for; refused if the contract disagrees.")] = None,
    decimals: Annotated[int | None, typer.Option(min=0, max=36, help="Likewise.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Add it switched off.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Ask no node; needs --symbol and --decimals.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch and move one more token. Its contract is asked for code, symbol, decimals and a balance first.

    Every wallet of the chain gets a balance of it at once, and running processes take it up at the commit.
    Without --execute-min a consolidation is sent from half of --flag-above on. Tokens that are kept as shares (stETH)
    arrive 1 or 2 raw units short and are not moved without --tolerance 2.

    Example: [bold]flagpost assets add bsc 0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d --flag-above '200 USDC'[/]
    Example: [bold]flagpost assets add ethereum 0x6B17… --symbol DAI --decimals 18 --flag-above '500 DAI'[/]
    """
    if flag_above is None:
        raise usage("give --flag-above: the balance from which on it is worth moving, such as '200 USDT'")
    if unchecked and (symbol is None or decimals is None):
        raise usage("--unchecked needs --symbol and --decimals: nobody else says what it is")
    settings = Settings.load()
    with database(settings, "assets add") as connection:
        row = chain_row(connection, chain)
        address = canonical_address(row["family"], contract)
        _refuse_known(connection, chain, address)
        wanted = {"contract_address": address, "symbol": symbol, "decimals": decimals}
        if not unchecked:
            wanted = asyncio.run(_ask(settings, row, wanted))
        token = {**wanted, "chain": chain}
        _refuse_namesake(connection, chain, token)
        flag = _amount("--flag-above", flag_above, token)
        minimum = flag // 2 if execute_min is None else _amount("--execute-min", execute_min, token)
        columns = {
            "chain_id": row["id"],
            "symbol": token["symbol"],
            "contract": address,
            "decimals": token["decimals"],
            "is_active": not disabled,
            "flag_above": flag,
            "execute_min": minimum,
            "tolerance": tolerance or 0,
        }
        with _contradictions(token):
            if connection.execute(statement("assets/insert"), columns).fetchone() is None:
                # Since we looked.
                _refuse_known(connection, chain, address)
    token |= {"is_active": not disabled, "transfer_tolerance": tolerance or 0}
    report = _report(token, flag, minimum) | {"checked": not unchecked}
    if as_json:
        print_json(report)
        return
    said = "not checked" if unchecked else "its contract agrees"
    out.print(
        f"added [bold]{escape(report['symbol'])}[/] on {escape(chain)} "
        f"({address}, {token['decimals']} decimals; {said}): "
        f"flagged above {escape(report['flag_above'])}, moved from {escape(report['execute_min'])} on"
    )
    say_gaps(settings, chain)


@app.command("list")
def list_assets(
    chain: Annotated[str | None, typer.Argument(help="Only this chain.")] = None, as_json: JsonOption = False
) -> None:
    """Every asset with its thresholds; the native coin has none.

    Example: [bold]flagpost assets list bsc[/]
    """
    with database(Settings.load(), "assets list") as connection:
        if chain is not None:
            chain_named(connection, chain)
        rows = connection.execute(statement("assets/list"), {"chain": chain}).fetchall()
    reports = [_report(row, _raw(row["consolidate_flag_above"]), _raw(row["consolidate_execute_min"])) for row in rows]
    if as_json:
        print_json(reports)
        return
    print_table(
        ("chain", "asset", "", "contract", "decimals", "flagged above", "moved from"),
        [
            (
                escape(one["chain"]),
                f"[bold]{escape(one['symbol'])}[/]",
                "[green]on[/]" if one["is_active"] else "[dim]off[/]",
                one["contract_address"] or "[dim]native coin[/]",
                str(one["decimals"]),
                escape(one["flag_above"] or ""),
                escape(one["execute_min"] or ""),
            )
            for one in reports
        ],
        right=("decimals", "flagged above", "moved from"),
    )


@app.command()
def thresholds(
    chain: ChainArgument,
    token: SymbolArgument,
    flag_above: FlagOption = None,
    execute_min: ExecuteOption = None,
    tolerance: ToleranceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show or change when a token is moved. A change judges all wallets of the chain anew, at once.

    --tolerance is for tokens that are kept as shares and arrive 1 or 2 raw units short (stETH). No fee hides in it.

    Example: [bold]flagpost assets thresholds bsc USDT --flag-above '500 USDT' --execute-min '250 USDT'[/]
    """
    with database(Settings.load(), "assets thresholds") as connection:
        row = _token(connection, chain, token)
        flag, minimum = parse_raw(row["consolidate_flag_above"]), parse_raw(row["consolidate_execute_min"])
        tolerated = int(row["transfer_tolerance"]) if tolerance is None else tolerance
        before = (flag, minimum, int(row["transfer_tolerance"]))
        if flag_above is not None:
            flag = _amount("--flag-above", flag_above, row)
        if execute_min is not None:
            minimum = _amount("--execute-min", execute_min, row)
        changed = (flag, minimum, tolerated) != before
        if changed:
            with _contradictions(row):
                connection.execute(
                    statement("assets/set_thresholds"),
                    {"asset_id": row["id"], "flag_above": flag, "execute_min": minimum, "tolerance": tolerated},
                )
    report = _report({**row, "transfer_tolerance": tolerated}, flag, minimum)
    if as_json:
        print_json(report)
    else:
        short = f", may arrive {tolerated} raw units short" if tolerated else ""
        out.print(
            f"{escape(report['symbol'])} on {escape(chain)}: flagged above {escape(report['flag_above'])}, "
            f"moved from {escape(report['execute_min'])} on{short}{' [bold](changed)[/]' if changed else ''}"
        )


@app.command()
def enable(
    chain: ChainArgument,
    token: SymbolArgument,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Ask no node.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Switch a token on; its contract is asked for its symbol and decimals first.

    Example: [bold]flagpost assets enable ethereum USDC[/]
    """
    settings = Settings.load()
    with database(settings, "assets enable") as connection:
        row = _token(connection, chain, token)
        if not unchecked:
            asyncio.run(_ask(settings, chain_row(connection, chain), row))
        connection.execute(statement("assets/set_active"), {"asset_id": row["id"], "is_active": True})
    _say_switched(row, active=True, as_json=as_json)
    say_gaps(settings, chain)


@app.command()
def disable(chain: ChainArgument, token: SymbolArgument, as_json: JsonOption = False) -> None:
    """Switch a token off: it is neither read nor moved. Payments that are out are followed to their end.

    Example: [bold]flagpost assets disable ethereum USDC[/]
    """
    with database(Settings.load(), "assets disable") as connection:
        row = _token(connection, chain, token)
        connection.execute(statement("assets/set_active"), {"asset_id": row["id"], "is_active": False})
    _say_switched(row, active=False, as_json=as_json)


async def _ask(settings: Settings, chain: Row, wanted: Row) -> dict[str, Any]:
    """``wanted`` with what its contract says where it left something open. Raises CommandError where they disagree."""
    async with checked_chain(settings, chain) as provider:
        found = await compare_token(provider, chain["name"], wanted)
    return {**wanted, "symbol": found.symbol, "decimals": found.decimals}


def _token(connection: Connection, chain: str, token: str) -> Row:
    """By symbol or contract. Raises CommandError naming those there are."""
    row = chain_named(connection, chain)
    rows = [one for one in connection.execute(statement("assets/list"), {"chain": chain}) if not _native(one)]
    found = [one for one in rows if token.upper() == one["symbol"].upper() or token == one["contract_address"]]
    if not found and row["family"] == "evm":
        found = [one for one in rows if token.lower() == one["contract_address"].lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(
            f"{chain} has {len(found)} tokens called {token}", "name it by its contract: flagpost assets list"
        )
    there = ", ".join(one["symbol"] for one in rows) or "none"
    raise CommandError(f"{chain} has no token {token!r}; there are: {there}", "add it: flagpost assets add --help")


def _refuse_known(connection: Connection, chain: str, address: str) -> None:
    for one in connection.execute(statement("assets/list"), {"chain": chain}):
        if one["contract_address"] == address:
            off = "" if one["is_active"] else f", switched off: flagpost assets enable {chain} {one['symbol']}"
            raise CommandError(f"{address} is on {chain} already as {one['symbol']}{off}")


def _refuse_namesake(connection: Connection, chain: str, token: Row) -> None:
    """Settings are addressed by symbol, and a second token of a well-known name is most often a false one."""
    for one in connection.execute(statement("assets/list"), {"chain": chain}):
        if one["symbol"].upper() == token["symbol"].upper():
            where = "the native coin" if _native(one) else one["contract_address"]
            raise CommandError(
                f"{chain} has a {one['symbol']} already: {where}; this one calls itself {token['symbol']} too",
                "make sure that it is not a false one; two of one name cannot be told apart in settings",
            )


def _amount(option: str, text: str, token: Row) -> int:
    """Raw units. Raises CommandError."""
    symbol, decimals = token["symbol"], token["decimals"]
    try:
        raw = human_amount(option, text, symbol, decimals)
    except (ConfigError, InvalidAmount) as error:
        raise usage(str(error)) from None
    if raw is None:
        raise usage(f"{option} {text!r}: name the token with it, such as '200 {symbol}'")
    return raw


@contextmanager
def _contradictions(token: Row) -> Iterator[None]:
    """Thresholds that the database refuses, as a CommandError."""
    try:
        yield
    except psycopg.errors.CheckViolation as error:
        rule = SENTENCES.get(error.diag.constraint_name or "") or error.diag.message_primary
        raise CommandError(f"{token['symbol']} on {token['chain']}: {rule}", "nothing was changed") from None


def _report(token: Row, flag: int | None, minimum: int | None) -> dict[str, Any]:
    symbol, decimals = token["symbol"], token["decimals"]

    def human(raw: int | None) -> str | None:
        return None if raw is None else f"{to_human(raw, decimals)} {symbol}"

    return {
        "chain": token["chain"],
        "symbol": symbol,
        "contract_address": token["contract_address"],
        "native": _native(token),
        "decimals": decimals,
        "is_active": token["is_active"],
        "flag_above": human(flag),
        "execute_min": human(minimum),
        "transfer_tolerance": int(token["transfer_tolerance"]),
    }


def _say_switched(token: Row, *, active: bool, as_json: bool) -> None:
    if as_json:
        print_json({"chain": token["chain"], "symbol": token["symbol"], "is_active": active})
        return
    word = "on" if active else "off"
    already = " already" if token["is_active"] == active else ""
    out.print(f"{escape(token['symbol'])} on {escape(token['chain'])} is {word}{already}")
    if active:
        err.print("its balances are read from now on")


def _native(row: Row) -> bool:
    return row["contract_address"] is None


def _raw(value: Any) -> int | None:
    return None if value is None else parse_raw(value)
