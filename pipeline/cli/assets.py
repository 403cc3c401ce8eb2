"""``flagpost assets``: which tokens are watched and moved. A token is asked what it is before it is taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from rich.markup import escape

from pipeline.admin import assets
from pipeline.admin.assets import Described, Token
from pipeline.admin.chains import find as find_chain
from pipeline.admin.errors import InvalidValue
from pipeline.admin.refusals import act
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.amounts import option_of, raw_amount
from pipeline.cli.output import CommandError, err, out, print_json, print_table, usage
from pipeline.cli.policy import say_gaps
from pipeline.settings import Settings
from pipeline.units import to_human

app = typer.Typer(no_args_is_help=True, help="Tokens: add, list, thresholds, enable, disable. No restart needed.")

MOST_TOLERATED = 10
"""Raw units, by a check of asset_on_chain."""
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
    typer.Option(min=0, max=MOST_TOLERATED, help="Raw units that a transfer may arrive short, for share-based tokens."),
]
SymbolOption = Annotated[str | None, typer.Option(help="Symbol you expect; refused if the contract has another.")]
DecimalsOption = Annotated[int | None, typer.Option(min=0, max=36, help="Decimals you expect; likewise.")]
DisabledOption = Annotated[bool, typer.Option("--disabled", help="Add it switched off.")]
UncheckedOption = Annotated[
    bool, typer.Option("--unchecked", help="Do not ask the contract; needs --symbol and --decimals.")
]


@app.command()
def add(
    chain: ChainArgument,
    contract: Annotated[str, typer.Argument(help="Address of the token's contract.")],
    flag_above: FlagOption = None,
    execute_min: ExecuteOption = None,
    tolerance: ToleranceOption = None,
    symbol: SymbolOption = None,
    decimals: DecimalsOption = None,
    disabled: DisabledOption = False,
    unchecked: UncheckedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Watch and move one more token. Its contract is asked for code, symbol, decimals and a balance first.

    Every wallet of the chain gets a balance of it at once, and running processes take it up at the commit.
    Without --execute-min a consolidation is sent from half of --flag-above on. Share-based tokens (stETH) arrive
    1 or 2 raw units short and are not moved without --tolerance 2.

    Example: [bold]flagpost assets add bsc 0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d --flag-above '200 USDC'[/]
    Example: [bold]flagpost assets add ethereum 0x6B17… --symbol DAI --decimals 18 --flag-above '500 DAI'[/]
    """
    if flag_above is None:
        raise usage("give --flag-above: the balance from which on it is worth moving, such as '200 USDT'")
    if unchecked and (symbol is None or decimals is None):
        raise usage("--unchecked needs --symbol and --decimals: the contract is not asked")
    settings, terms = Settings.load(), (tolerance or 0, not disabled)

    async def take(connection: AsyncConnection[Any]) -> Token:
        token = await assets.describe(
            connection, settings, chain, contract, symbol=symbol, decimals=decimals, ask_nodes=not unchecked
        )
        return await _take(connection, chain, token, flag_above, execute_min, *terms)

    _say_added(run_action(settings, "assets add", take), checked=not unchecked, as_json=as_json)
    if not as_json:
        say_gaps(settings, chain)


async def _take(
    connection: AsyncConnection[Any],
    chain: str,
    token: Described,
    flag_above: str,
    execute_min: str | None,
    tolerance: int,
    is_active: bool,
) -> Token:
    """Add the token with thresholds in its own units. Raises CommandError."""
    flag = raw_amount("--flag-above", flag_above, token.symbol, token.decimals)
    least = flag // 2 if execute_min is None else raw_amount("--execute-min", execute_min, token.symbol, token.decimals)
    with _named(token.symbol, chain):
        return await assets.add(
            connection,
            chain,
            token,
            flag_above=flag,
            execute_min=least,
            tolerance=tolerance,
            is_active=is_active,
        )


def _say_added(token: Token, *, checked: bool, as_json: bool) -> None:
    report = _report(token)
    if as_json:
        print_json(report | {"checked": checked})
        return
    said = "its contract agrees" if checked else "not checked"
    out.print(
        f"added [bold]{escape(report['symbol'])}[/] on {escape(token.chain)} "
        f"({token.contract_address}, {token.decimals} decimals; {said}): "
        f"flagged above {escape(report['flag_above'])}, moved from {escape(report['execute_min'])} on"
    )


@app.command("list")
def list_assets(
    chain: Annotated[str | None, typer.Argument(help="Only this chain.")] = None, as_json: JsonOption = False
) -> None:
    """Every asset with its thresholds; the native coin has none.

    Example: [bold]flagpost assets list bsc[/]
    """

    async def read(connection: AsyncConnection[Any]) -> list[DictRow]:
        if chain is not None:
            await find_chain(connection, chain)
        return await act(connection, "assets/list", chain=chain)

    rows = run_action(Settings.load(), "assets list", read)
    reports = [_report(_coin(row) if row["contract_address"] is None else Token.of(row)) for row in rows]
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
    """Show or change when a token is moved. Flags of all wallets of the chain are evaluated anew, at once.

    --tolerance is for share-based tokens, which arrive 1 or 2 raw units short (stETH); it is too small for a fee.

    Example: [bold]flagpost assets thresholds bsc USDT --flag-above '500 USDT' --execute-min '250 USDT'[/]
    """

    async def change(connection: AsyncConnection[Any]) -> tuple[Token, Token]:
        before = await assets.find(connection, chain, token)
        given = {"flag_above": flag_above, "execute_min": execute_min}
        amounts = {
            name: raw_amount(option_of(name), text, before.symbol, before.decimals)
            for name, text in given.items()
            if text is not None
        }
        if not amounts and tolerance is None:
            return before, before
        with _named(before.symbol, chain):
            contract = before.contract_address
            return before, await assets.set_thresholds(
                connection,
                chain,
                contract,
                flag_above=amounts.get("flag_above"),
                execute_min=amounts.get("execute_min"),
                tolerance=tolerance,
            )

    before, now = run_action(Settings.load(), "assets thresholds", change)
    changed, tolerated, report = before != now, now.transfer_tolerance, _report(now)
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
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Do not ask the contract.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Switch a token on; its contract is asked for its symbol and decimals first.

    Example: [bold]flagpost assets enable ethereum USDC[/]
    """
    settings = Settings.load()
    before = run_action(
        settings,
        "assets enable",
        lambda connection: assets.enable(connection, settings, chain, token, ask_nodes=not unchecked),
    )
    _say_switched(before, active=True, as_json=as_json)
    say_gaps(settings, chain)


@app.command()
def disable(chain: ChainArgument, token: SymbolArgument, as_json: JsonOption = False) -> None:
    """Switch a token off: it is neither read nor moved. Payments that are out are followed to their end.

    Example: [bold]flagpost assets disable ethereum USDC[/]
    """
    before = run_action(Settings.load(), "assets disable", lambda connection: assets.disable(connection, chain, token))
    _say_switched(before, active=False, as_json=as_json)


@contextmanager
def _named(symbol: str, chain: str) -> Iterator[None]:
    """Thresholds that are refused, with the token they are of."""
    try:
        yield
    except InvalidValue as error:
        raise CommandError(f"{symbol} on {chain}: {error.message}", error.hint) from None


@dataclass(frozen=True, slots=True)
class _Coin:
    """A native coin, which has no thresholds."""

    chain: str
    symbol: str
    decimals: int
    is_active: bool
    contract_address: None = None
    flag_above: None = None
    execute_min: None = None
    transfer_tolerance: int = 0


def _coin(row: DictRow) -> _Coin:
    return _Coin(row["chain"], row["symbol"], row["decimals"], row["is_active"])


def _report(token: Token | _Coin) -> dict[str, Any]:
    def human(raw: int | None) -> str | None:
        return None if raw is None else f"{to_human(raw, token.decimals)} {token.symbol}"

    return {
        "chain": token.chain,
        "symbol": token.symbol,
        "contract_address": token.contract_address,
        "native": token.contract_address is None,
        "decimals": token.decimals,
        "is_active": token.is_active,
        "flag_above": human(token.flag_above),
        "execute_min": human(token.execute_min),
        "transfer_tolerance": token.transfer_tolerance,
    }


def _say_switched(before: Token, *, active: bool, as_json: bool) -> None:
    if as_json:
        print_json({"chain": before.chain, "symbol": before.symbol, "is_active": active})
        return
    word = "on" if active else "off"
    already = " already" if before.is_active == active else ""
    out.print(f"{escape(before.symbol)} on {escape(before.chain)} is {word}{already}")
    if active:
        err.print("its balances are read from now on")
