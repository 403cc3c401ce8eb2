"""``flagpost wallets``: which deposit wallets are watched, and which of them are ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer
from rich.markup import escape

from pipeline.cli.output import CommandError, age, err, out, print_json, print_table, usage
from pipeline.cli.session import Connection, Row, canonical_address, chain_named, database, own_branch
from pipeline.cli.wallet_file import Problem, read_wallets
from pipeline.db.statements import statement
from pipeline.keys.derivation import FIRST_USER_INDEX, MAX_INDEX, PublicBranch
from pipeline.settings import Settings, SettingsError
from pipeline.units import parse_raw, to_human

LOOK_AHEAD = 1_000
"""Indices derived beyond the highest in use to recognise an address as ours: 1,000 take 30 ms."""
MAX_DERIVE = 100_000

MOST_LISTED = 100_000

app = typer.Typer(no_args_is_help=True, help="Deposit wallets: add, derive, import, list.")

ChainOption = Annotated[str, typer.Option("--chain", help="Name of the chain, as in the table chains.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wallet to be inserted, its address checked."""

    address: str
    index: int | None
    user_id: UUID | None = None


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
    with database(settings, "wallets add") as connection:
        row = chain_named(connection, chain)
        checked = canonical_address(row["family"], address)
        candidate = Candidate(checked, _own_index(settings, connection, row, checked, index), user)
        if not _insert(connection, row, [candidate]):
            raise CommandError(f"{checked} is watched on {chain} already", f"see: flagpost wallets list {checked}")
    _tell_gas(row, int(candidate.index is not None))
    if as_json:
        print_json({"address": checked, "chain": chain, "index": candidate.index, "foreign": candidate.index is None})
    elif candidate.index is None:
        out.print(f"added {checked} on {chain} [yellow](foreign: never receives gas, never emptied)[/]")
    else:
        out.print(f"added {checked} on {chain} [green](ours, index {candidate.index})[/]")


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

    Indices 0 to 9 are the house's own (0 gas wallet, 1 treasury); customers begin at 10.

    Example: [bold]flagpost wallets derive --count 100[/]
    Example: [bold]flagpost wallets derive --chain bsc --count 100[/]
    """
    if start is not None and start < FIRST_USER_INDEX:
        raise usage(f"--start {start}: indices below {FIRST_USER_INDEX} are the house's own", "start at 10 or later")
    settings = Settings.load()
    with database(settings, "wallets derive") as connection:
        row = chain_named(connection, chain)
        branch = own_branch(settings, row["family"])
        first = _next_index(connection, row) if start is None else start
        if first + count - 1 > MAX_INDEX:
            raise usage(f"index {first + count - 1} is beyond the last one, {MAX_INDEX}", "take a lower --start")
        indices = range(first, first + count)
        wallets = [Candidate(a, i) for i, a in zip(indices, branch.addresses(indices), strict=True)]
        added = {new["address"] for new in _insert(connection, row, wallets)}
    _tell_gas(row, len(added))
    if as_json:
        print_json([{"address": w.address, "index": w.index, "added": w.address in added} for w in wallets])
        return
    print_table(
        ("index", "address", ""),
        [(str(w.index), w.address, "" if w.address in added else "[dim]was there already[/]") for w in wallets],
        right=("index",),
    )
    err.print(f"{len(added)} of {count} added on {chain}")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV (address,index,user_id) or JSON array.", dir_okay=False)],
    chain: ChainOption = "tron",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Take the good lines even if others are bad.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch every address of a file.

    Each bad line is reported with its number; unless --skip-bad is given nothing is taken then (exit code 1).

    Example: [bold]flagpost wallets import customers.csv --chain tron[/]
    """
    settings = Settings.load()
    entries, problems = read_wallets(file)
    with database(settings, "wallets import") as connection:
        row = chain_named(connection, chain)
        branch = _branch_or_none(settings, row)
        horizon = _known_addresses(connection, row, branch, [e.index for e in entries if e.index is not None])
        missing = _missing_users(connection, [e.user_id for e in entries if e.user_id is not None])
        wallets: dict[str, Candidate] = {}
        for entry in entries:
            try:
                checked = canonical_address(row["family"], entry.address)
                if entry.user_id in missing:
                    raise CommandError(f"user_id {entry.user_id} is not in auth.users")
                if checked in wallets:
                    raise CommandError(f"{checked} stands in the file twice")
                index = _match(branch, horizon, checked, entry.index)
            except CommandError as error:
                problems.append(Problem(entry.place, error.message))
            else:
                wallets[checked] = Candidate(checked, index, entry.user_id)
        take = skip_bad or not problems
        added = _insert(connection, row, list(wallets.values())) if take else []
    _tell_gas(row, sum(new["derivation_index"] is not None for new in added))
    problems.sort(key=lambda problem: int(problem.place.split()[-1]))
    report = {
        "added": len(added),
        "already_there": len(wallets) - len(added) if take else 0,
        "foreign": sum(new["derivation_index"] is None for new in added),
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
        err.print("nothing was taken: correct the file, or take the good lines with --skip-bad")
    if problems:
        raise typer.Exit(1)


@app.command("list")
def list_wallets(
    address: Annotated[str | None, typer.Argument(help="Only addresses containing this.")] = None,
    chain: Annotated[str | None, typer.Option(help="Only this chain.")] = None,
    needs_gas: Annotated[bool | None, typer.Option("--needs-gas/--no-needs-gas", help="By this flag.")] = None,
    needs_consolidation: Annotated[
        bool | None, typer.Option("--needs-consolidation/--no-needs-consolidation", help="By this flag.")
    ] = None,
    foreign: Annotated[
        bool | None, typer.Option("--foreign/--ours", help="Only wallets (not) of our mnemonic.")
    ] = None,
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
    with database(Settings.load(), "wallets list") as connection:
        rows = connection.execute(statement("wallets/list"), filters).fetchall()
    if as_json:
        print_json(rows)
        return
    if not rows:
        err.print("no wallet matches; add some with: flagpost wallets derive --count 10")
        return
    print_table(
        ("chain", "address", "index", "holds", "flags", "read", "last error"),
        [_list_row(row) for row in rows],
        right=("index",),
    )
    if len(rows) == limit:
        err.print(f"the first {limit}; more with --limit")


def _list_row(row: Row) -> tuple[str, ...]:
    holds = "  ".join(f"{to_human(int(b['raw']), b['decimals'])} {b['symbol']}" for b in row["balances"] or [])
    flags = [
        text
        for flag, text in (("needs_gas", "[yellow]gas[/]"), ("needs_consolidation", "[cyan]consolidation[/]"))
        if row[flag]
    ]
    index = "[dim]foreign[/]" if row["derivation_index"] is None else str(row["derivation_index"])
    error = f"[red]{escape(row['last_error'])}[/]" if row["last_error"] else ""
    return row["chain"], escape(row["address"]), index, holds, " ".join(flags), age(row["last_sync_at"]), error


def _tell_gas(chain: Row, added: int) -> None:
    """What the policy `threshold` costs, said before the first top-up: nobody expects a wallet to cost money."""
    if added and chain["gas_policy"] == "threshold" and chain["coin"] is not None:
        each = parse_raw(chain["gas_amount"])
        spend, price = (f"{to_human(raw, chain['coin_decimals'])} {chain['coin']}" for raw in (each * added, each))
        err.print(
            f"[yellow]gas policy threshold[/]: up to {spend} will be sent to them ({price} each, fees not counted); "
            f"only where tokens are to move: flagpost config set {chain['name']}.gas_policy on_demand"
        )


def _own_index(settings: Settings, connection: Connection, chain: Row, address: str, index: int | None) -> int | None:
    """The index that derives ``address``, None for a foreign one. A given index must be the right one."""
    branch = own_branch(settings, chain["family"]) if index is not None else _branch_or_none(settings, chain)
    return _match(branch, _known_addresses(connection, chain, branch, []), address, index)


def _match(branch: PublicBranch | None, known: dict[str, int], address: str, index: int | None) -> int | None:
    if index is not None:
        if branch is None:
            raise CommandError(f"index {index} cannot be checked without the mnemonic")
        derived = branch.address(index)
        if derived != address:
            raise CommandError(
                f"{address} is not ours at index {index}: that one is {derived}",
                "give the right --index, or leave it out to watch the address as a foreign one",
            )
    found = known.get(address) if index is None else index
    if found is not None and found < FIRST_USER_INDEX:
        role = {0: "the gas wallet", 1: "the treasury"}.get(found, "reserved for the house")
        raise CommandError(f"{address} is our own index {found}, {role}: it is not a customer's deposit wallet")
    return found


def _branch_or_none(settings: Settings, chain: Row) -> PublicBranch | None:
    """Our addresses, None on a machine without the mnemonic. A bad mnemonic is an error all the same."""
    try:
        return own_branch(settings, chain["family"])
    except SettingsError:
        err.print("[yellow]no mnemonic on this machine[/]: addresses without an index are taken as foreign")
        return None


def _known_addresses(
    connection: Connection, chain: Row, branch: PublicBranch | None, indices: Sequence[int]
) -> dict[str, int]:
    """Our addresses by index: the house's, and those up to LOOK_AHEAD beyond the last one in use."""
    if branch is None:
        return {}
    last = max([_next_index(connection, chain), *(index + 1 for index in indices if index < MAX_DERIVE)])
    horizon = range(min(last + LOOK_AHEAD, MAX_INDEX))
    return {address: index for index, address in zip(horizon, branch.addresses(horizon), strict=True)}


def _next_index(connection: Connection, chain: Row) -> int:
    row = connection.execute(
        statement("wallets/next_index"), {"chain_id": chain["id"], "first": FIRST_USER_INDEX}
    ).fetchone()
    return int(row["next_index"]) if row else FIRST_USER_INDEX


def _missing_users(connection: Connection, users: Sequence[UUID]) -> set[UUID]:
    if not users:
        return set()
    return {row["id"] for row in connection.execute(statement("wallets/missing_users"), {"user_ids": list(users)})}


def _insert(connection: Connection, chain: Row, wallets: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Insert those that are new. Raises CommandError where an index or a user does not fit."""
    columns = {
        "chain_id": chain["id"],
        "addresses": [wallet.address for wallet in wallets],
        "indices": [wallet.index for wallet in wallets],
    }
    try:
        with connection.transaction():
            return connection.execute(
                statement("wallets/insert"), {**columns, "user_ids": [wallet.user_id for wallet in wallets]}
            ).fetchall()
    except psycopg.errors.UniqueViolation:
        wanted = {wallet.index: wallet.address for wallet in wallets}
        for row in connection.execute(statement("wallets/taken"), columns):
            index = row["derivation_index"]
            if index is not None and wanted.get(index, row["address"]) != row["address"]:
                raise CommandError(
                    f"index {index} already belongs to wallet {row['id']} with address {row['address']}",
                    "that row was changed by hand: set its derivation_index to NULL or its address back",
                ) from None
        raise
    except psycopg.errors.ForeignKeyViolation:
        users = ", ".join(sorted({str(wallet.user_id) for wallet in wallets if wallet.user_id}))
        raise CommandError(f"no such user: {users}", "--user is an id of the table auth.users") from None
