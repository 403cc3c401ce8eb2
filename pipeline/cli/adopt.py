"""``flagpost adopt``: takes over a database that was set up by other scripts (the runbooks)."""

import asyncio
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from rich.markup import escape

from pipeline.admin.adopt import FIRST_INDICES, Adoption, NothingToAdopt
from pipeline.admin.adopt import adopt as adopt_database
from pipeline.admin.refusals import act
from pipeline.admin.session import async_database
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import NOTE, OK, WARN, err, out, print_json, print_table, usage
from pipeline.db.rows import fetch
from pipeline.settings import Settings

app = typer.Typer(invoke_without_command=True)

MOST_SHOWN = 20
"""Lines of each list; --json has all of them."""


@app.callback()
def adopt(
    context: typer.Context,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without this it is only tried and rolled back.")
    ] = False,
    network: Annotated[
        list[str] | None,
        typer.Option(help="An old name of a network and the chain it is: --network 'TRX mainnet=tron'."),
    ] = None,
    indices: Annotated[
        int,
        typer.Option(min=10, max=1_000_000, help="How many addresses of the mnemonic are compared with the wallets."),
    ] = FIRST_INDICES,
    as_json: JsonOption = False,
) -> None:
    """Take over a database that has tables of your own by these names: user_wallets, job_logs, admin_actions,
    system_config.

    Without --apply everything is done, rolled back and printed; the old tables are locked meanwhile. Stop the old
    workers first. Every row keeps its id; foreign keys on user_wallets refer to wallets from then on; the
    old tables stay in the schema adopted. Wallets that the mnemonic does not derive are foreign: watched, never paid.

    Nothing is paid for a job that was running: it is cancelled, and its wallet frozen until you have checked on the
    chain whether it paid: flagpost adopt frozen, flagpost adopt release.

    Example: [bold]flagpost adopt[/]
    Example: [bold]flagpost adopt --apply[/]
    """
    if context.invoked_subcommand is not None:
        return
    networks = dict(_mapped(text) for text in network or [])
    settings = Settings.load()
    try:
        adoption = asyncio.run(_run(settings, networks, indices, apply=apply))
    except NothingToAdopt as nothing:
        if as_json:
            print_json({"applied": False, "nothing": nothing.message})
        else:
            out.print(f"{OK} {escape(nothing.message)}: {escape(nothing.hint)}")
        return
    if as_json:
        print_json(adoption.as_json())
    else:
        _print(adoption)


@app.command()
def frozen(as_json: JsonOption = False) -> None:
    """List wallets that are not paid because a job of theirs was running when the database was adopted."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await fetch(connection, "adopt/frozen")

    rows = run_action(Settings.load(), "adopt frozen", ask)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("chain", "address", "jobs"),
        [(row["chain"], escape(row["address"]), escape(", ".join(row["jobs"]))) for row in rows],
    )
    err.print(f"{len(rows)} frozen; check on the chain whether their jobs paid, then: flagpost adopt release ADDRESS …")


@app.command()
def release(
    addresses: Annotated[list[str], typer.Argument(help="Wallets that `flagpost adopt frozen` lists.")],
    as_json: JsonOption = False,
) -> None:
    """Let wallets be paid again, once you have checked on the chain whether their jobs paid.

    Example: [bold]flagpost adopt release TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH[/]
    """

    async def let_go(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await act(connection, "adopt/release", addresses=addresses)

    rows = run_action(Settings.load(), "adopt release", let_go)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"{OK} {escape(row['address'])} may be paid again (derivation index {row['derivation_index']})")


async def _run(settings: Settings, networks: dict[str, str], indices: int, *, apply: bool) -> Adoption:
    async with async_database(settings, "adopt") as connection:
        with err.status("connecting") as status:
            return await adopt_database(
                connection, settings, apply=apply, networks=networks, indices=indices, tell=status.update
            )


def _mapped(text: str) -> tuple[str, str]:
    old, _, new = text.rpartition("=")
    if not old or not new:
        raise usage(f"--network '{text}' is not OLD=CHAIN", "like --network 'TRX mainnet=tron'")
    return old, new


def _print(adoption: Adoption) -> None:
    by_chain = ", ".join(f"{count} on {name}" for name, count in sorted(adoption.by_chain.items())) or "none"
    out.print(f"{OK} {adoption.wallets} wallets ({by_chain}): {adoption.ours} ours, {adoption.foreign} foreign")
    out.print(f"{OK} {adoption.jobs} jobs, {adoption.pending} of them waiting")
    out.print(f"{OK} {adoption.actions} admin actions, {adoption.settings} settings")
    _list("foreign keys re-pointed", OK, adoption.foreign_keys)
    _list("policies kept", OK, adoption.policies)
    unknown = [
        f"{one['job_type']} {one['job_id']} of {one['wallet']}: was {one['status']}" for one in adoption.unknown_jobs
    ]
    _list("jobs of unknown state, cancelled and never run again", WARN, unknown)
    _list("wallets frozen until released (flagpost adopt frozen)", WARN, adoption.frozen)
    _list("policies not kept", WARN, adoption.policies_left)
    _list("left on the old tables; make anew what is still wanted", WARN, adoption.left)
    _list("notes", NOTE, adoption.notes)
    if adoption.applied:
        out.print(f"adopted; the old tables are in the schema adopted: {', '.join(adoption.tables)}")
        out.print("next: flagpost doctor")
    else:
        out.print("nothing was changed: this was a dry run; do it with: flagpost adopt --apply")


def _list(title: str, mark: str, lines: list[str]) -> None:
    if not lines:
        return
    out.print(f"{mark} {title}: {len(lines)}")
    for line in lines[:MOST_SHOWN]:
        out.print(f"    {escape(line)}")
    if len(lines) > MOST_SHOWN:
        out.print(f"    and {len(lines) - MOST_SHOWN} more (--json has all of them)")
