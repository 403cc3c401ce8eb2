"""``flagpost wallets``: which deposit wallets are watched, and which of them are ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from rich.markup import escape

from pipeline.admin import wallets
from pipeline.admin.addresses import canonical_address, own_branch
from pipeline.admin.chains import find as find_chain
from pipeline.admin.errors import ActionError
from pipeline.admin.refusals import act
from pipeline.admin.wallets import MAX_DERIVE, AddedWallet, NewWallet, OwnAddresses
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import CommandError, age, err, out, print_json, print_table, usage
from pipeline.cli.wallet_file import Problem, WalletEntry, read_wallets
from pipeline.keys.derivation import FIRST_USER_INDEX, MAX_INDEX, PublicBranch
from pipeline.settings import Settings, SettingsError
from pipeline.units import parse_raw, to_human

MOST_LISTED = 100_000

app = typer.Typer(no_args_is_help=True, help="Deposit wallets: add, derive, import, list, set flags.")

ChainOption = Annotated[str, typer.Option("--chain", help="Name of the chain, as in the table chains.")]


@app.command()
def add(
    address: Annotated[str, typer.Argument(help="The deposit address.")],
    chain: ChainOption = "tron",
    index: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_INDEX, help="Its derivation index, if you know it."),
    ] = None,
    user: Annotated[UUID | None, typer.Option(help="The customer it belongs to (auth.users.id).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Watch one more address.

    Its form and checksum are checked, and whether our mnemonic derives it. An address that it does not derive is
    *foreign*: it is watched, but never receives gas and is never emptied, because we hold no key to it.

    Example: [bold]flagpost wallets add TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH --index 12[/]
    Example: [bold]flagpost wallets add 0x9858EfFD232B4033E47d90003D41EC34EcaEda94 --chain bsc[/]
    """
    settings = Settings.load()

    async def watch(connection: AsyncConnection[Any]) -> tuple[DictRow, NewWallet]:
        on = await find_chain(connection, chain)
        checked = canonical_address(on["family"], address)
        branch = own_branch(settings, on["family"]) if index is not None else _branch_or_none(settings, on)
        own = await OwnAddresses.of(connection, on, branch)
        new = NewWallet(checked, own.index_of(checked, index), user)
        if not await wallets.add(connection, chain, [new]):
            raise CommandError(f"{checked} is watched on {chain} already", f"see: flagpost wallets list {checked}")
        return on, new

    row, new = run_action(settings, "wallets add", watch)
    _tell_gas(row, int(new.index is not None))
    if as_json:
        print_json({"address": new.address, "chain": chain, "index": new.index, "foreign": new.index is None})
    elif new.index is None:
        out.print(f"added {new.address} on {chain} [yellow](foreign: never receives gas, never emptied)[/]")
    else:
        out.print(f"added {new.address} on {chain} [green](ours, index {new.index})[/]")


@app.command()
def derive(
    count: Annotated[int, typer.Option(min=1, max=MAX_DERIVE, help="How many wallets.")] = 1,
    start: Annotated[
        int | None, typer.Option(min=0, max=MAX_INDEX, help="First index; default: after the last one in use.")
    ] = None,
    chain: ChainOption = "tron",
    as_json: JsonOption = False,
) -> None:
    """Derive wallets from the mnemonic and watch them: m/44'/195'/0'/0/i on TRON, m/44'/60'/0'/0/i on EVM chains.

    Indices 0 to 9 are reserved (0: gas wallet, 1: treasury); customers begin at 10.

    Example: [bold]flagpost wallets derive --count 100[/]
    Example: [bold]flagpost wallets derive --chain bsc --count 100[/]
    """
    if start is not None and start < FIRST_USER_INDEX:
        raise usage(f"--start {start}: indices below {FIRST_USER_INDEX} are reserved", "start at 10 or later")
    settings = Settings.load()

    async def derive_all(connection: AsyncConnection[Any]) -> tuple[DictRow, list[NewWallet], set[str]]:
        on = await find_chain(connection, chain)
        branch = own_branch(settings, on["family"])
        first = await wallets.next_index(connection, on) if start is None else start
        made = wallets.derived(branch, first, count)
        return on, made, {new.address for new in await wallets.add(connection, chain, made)}

    row, made, added = run_action(settings, "wallets derive", derive_all)
    _tell_gas(row, len(added))
    if as_json:
        print_json([{"address": w.address, "index": w.index, "added": w.address in added} for w in made])
        return
    print_table(
        ("index", "address", ""),
        [(str(w.index), w.address, "" if w.address in added else "[dim]was there already[/]") for w in made],
        right=("index",),
    )
    err.print(f"{len(added)} of {count} added on {chain}")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV (address,index,user_id) or JSON array.", dir_okay=False)],
    chain: ChainOption = "tron",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Add the valid lines even if others are invalid.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch every address of a file.

    Every invalid line is reported with its number, with exit code 1; without --skip-bad nothing is added then.

    Example: [bold]flagpost wallets import customers.csv --chain tron[/]
    """
    settings = Settings.load()
    entries, problems = read_wallets(file)

    async def watch_all(connection: AsyncConnection[Any]) -> tuple[DictRow, list[NewWallet], list[AddedWallet]]:
        on = await find_chain(connection, chain)
        branch = _branch_or_none(settings, on)
        own = await OwnAddresses.of(connection, on, branch, [e.index for e in entries if e.index is not None])
        missing = await wallets.missing_users(connection, [e.user_id for e in entries if e.user_id is not None])
        good, bad = _checked(entries, on, own, missing)
        problems.extend(bad)
        take = skip_bad or not problems
        return on, good, await wallets.add(connection, chain, good) if take and good else []

    row, good, added = run_action(settings, "wallets import", watch_all)
    take = skip_bad or not problems
    _tell_gas(row, sum(new.index is not None for new in added))
    problems.sort(key=lambda problem: int(problem.place.split()[-1]))
    report = {
        "added": len(added),
        "already_there": len(good) - len(added) if take else 0,
        "foreign": sum(new.index is None for new in added),
        "problems": [{"place": problem.place, "message": problem.message} for problem in problems],
    }
    if as_json:
        print_json(report)
    else:
        for problem in problems:
            err.print(f"[red]{problem.place}[/]: {escape(problem.message)}")
        out.print(
            f"{report['added']} added on {chain} ({report['foreign']} foreign), "
            f"{report['already_there']} were there already, {len(problems)} bad"
        )
    if problems and not take and not as_json:
        err.print("nothing was added: correct the file, or add the valid lines with --skip-bad")
    if problems:
        raise typer.Exit(1)


@app.command()
def flag(
    address: Annotated[str, typer.Argument(help="The deposit address.")],
    gas: Annotated[bool | None, typer.Option("--gas/--no-gas", help="Raise or clear needs_gas.")] = None,
    consolidation: Annotated[
        bool | None, typer.Option("--consolidation/--no-consolidation", help="Raise or clear needs_consolidation.")
    ] = None,
    chain: Annotated[str | None, typer.Option(help="Its chain, where the address is watched on several.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Raise or clear a wallet's flags by hand. Whether anything is paid, the job decides from the chain.

    Example: [bold]flagpost wallets flag TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH --consolidation[/]
    """
    if gas is None and consolidation is None:
        raise usage("say which flag: --gas, --no-gas, --consolidation, --no-consolidation")
    now = run_action(
        Settings.load(),
        "wallets flag",
        lambda connection: wallets.set_flags(
            connection, address, needs_gas=gas, needs_consolidation=consolidation, chain=chain
        ),
    )
    if as_json:
        print_json(asdict(now))
    else:
        flags = [name for name in ("needs_gas", "needs_consolidation") if getattr(now, name)]
        out.print(f"{escape(now.address)} on {escape(now.chain)}: {', '.join(flags) or 'no flag is up'}")


NeedsGasFilter = Annotated[
    bool | None, typer.Option("--needs-gas/--no-needs-gas", help="Only wallets with (or without) this flag.")
]
NeedsConsolidationFilter = Annotated[
    bool | None,
    typer.Option("--needs-consolidation/--no-needs-consolidation", help="Only wallets with (or without) this flag."),
]
ForeignFilter = Annotated[
    bool | None, typer.Option("--foreign/--ours", help="Only addresses that our mnemonic does not derive (or does).")
]


@app.command("list")
def list_wallets(
    address: Annotated[str | None, typer.Argument(help="Only addresses containing this.")] = None,
    chain: Annotated[str | None, typer.Option(help="Only this chain.")] = None,
    needs_gas: NeedsGasFilter = None,
    needs_consolidation: NeedsConsolidationFilter = None,
    foreign: ForeignFilter = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Wallets with their balances and flags, flagged ones first.

    Example: [bold]flagpost wallets list --needs-gas[/]
    """
    filters = {
        "address": address,
        "chain": chain,
        "needs_gas": needs_gas,
        "needs_consolidation": needs_consolidation,
        "foreign": foreign,
        "limit": limit,
    }

    async def read(connection: AsyncConnection[Any]) -> list[DictRow]:
        if chain is not None:
            await find_chain(connection, chain)
        return await act(connection, "wallets/list", **filters)

    rows = run_action(Settings.load(), "wallets list", read)
    if as_json:
        print_json(rows)
        return
    if not rows:
        err.print("no wallet matches; derive some: flagpost wallets derive --count 10")
        return
    print_table(
        ("chain", "address", "index", "holds", "flags", "read", "last error"),
        [_list_row(row) for row in rows],
        right=("index",),
    )
    if len(rows) == limit:
        err.print(f"the first {limit}; more with --limit")


def _list_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    holds = "  ".join(f"{to_human(int(b['raw']), b['decimals'])} {b['symbol']}" for b in row["balances"] or [])
    flags = [
        text
        for flag, text in (("needs_gas", "[yellow]gas[/]"), ("needs_consolidation", "[cyan]consolidation[/]"))
        if row[flag]
    ]
    index = "[dim]foreign[/]" if row["derivation_index"] is None else str(row["derivation_index"])
    error = f"[red]{escape(row['last_error'])}[/]" if row["last_error"] else ""
    return row["chain"], escape(row["address"]), index, holds, " ".join(flags), age(row["last_sync_at"]), error


def _tell_gas(chain: Mapping[str, Any], added: int) -> None:
    """What the policy `threshold` costs, said before the first top-up: nobody expects a wallet to cost money."""
    if added and chain["gas_policy"] == "threshold" and chain["coin"] is not None:
        each = parse_raw(chain["gas_amount"])
        spend, price = (f"{to_human(raw, chain['coin_decimals'])} {chain['coin']}" for raw in (each * added, each))
        err.print(
            f"[yellow]gas policy threshold[/]: up to {spend} will be sent to them ({price} each, fees not counted); "
            f"only where tokens are to move: flagpost config set {chain['name']}.gas_policy on_demand"
        )


def _checked(
    entries: Sequence[WalletEntry], chain: DictRow, own: OwnAddresses, missing: set[UUID]
) -> tuple[list[NewWallet], list[Problem]]:
    """The wallets of a file, and why some of its lines cannot be taken."""
    good: dict[str, NewWallet] = {}
    bad: list[Problem] = []
    for entry in entries:
        try:
            address = canonical_address(chain["family"], entry.address)
            if entry.user_id in missing:
                raise CommandError(f"user_id {entry.user_id} is not in auth.users")
            if address in good:
                raise CommandError(f"{address} is in the file twice")
            good[address] = NewWallet(address, own.index_of(address, entry.index), entry.user_id)
        except ActionError as error:
            bad.append(Problem(entry.place, error.message))
    return list(good.values()), bad


def _branch_or_none(settings: Settings, chain: Mapping[str, Any]) -> PublicBranch | None:
    """Our addresses, None on a machine without the mnemonic. A bad mnemonic is an error all the same."""
    try:
        return own_branch(settings, chain["family"])
    except SettingsError:
        err.print("[yellow]no mnemonic on this machine[/]: addresses without an index are taken as foreign")
        return None
