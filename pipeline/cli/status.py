"""``flagpost status``: the whole on one screen."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline.admin import status as read_model
from pipeline.admin.errors import DatabaseUnavailable
from pipeline.admin.session import async_database
from pipeline.admin.status import SystemHealth, SystemStatus, WorkersOfType
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import out, print_error, print_json, span, usage
from pipeline.db.errors import DATABASE_GONE
from pipeline.printable import reason
from pipeline.settings import Settings

EXIT_CODES = {SystemHealth.HEALTHY: 0, SystemHealth.PAUSED: 0, SystemHealth.DEGRADED: 3, SystemHealth.DOWN: 4}
COLOURS = {
    SystemHealth.HEALTHY: "bold green",
    SystemHealth.PAUSED: "bold yellow",
    SystemHealth.DEGRADED: "bold yellow",
    SystemHealth.DOWN: "bold red",
}
MOST_REASONS = 8


def status(
    watch: Annotated[
        float | None, typer.Option("--watch", min=0.2, metavar="SECONDS", help="Redraw so often, until Ctrl-C.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How the whole is: Healthy, Degraded, Down or Paused, why, and what to do; workers, jobs, chains.

    Exit code 0: healthy or paused, 3: degraded, 4: down (also where the database does not answer), 2: typed wrongly.

    Example: [bold]flagpost status --watch 2[/]
    """
    settings = Settings.load()
    if watch is not None:
        if as_json or not sys.stdout.isatty():
            raise usage("--watch draws on a terminal; for programs: flagpost status --json")
        asyncio.run(_watch(settings, watch))
        return
    try:
        found = run_action(settings, "status", read_model.read)
    except DatabaseUnavailable as error:
        if as_json:
            print_json({"health": SystemHealth.DOWN, "reasons": [f"{error.message}: {error.hint}"]})
        else:
            out.print(Text.assemble(("Down", COLOURS[SystemHealth.DOWN])))
            print_error(error)
        raise typer.Exit(EXIT_CODES[SystemHealth.DOWN]) from None
    if as_json:
        print_json(asdict(found))
    else:
        out.print(_screen(found))
    raise typer.Exit(EXIT_CODES[found.health])


async def _watch(settings: Settings, seconds: float) -> None:
    """Redraw until cancelled; while the database does not answer, say so and try again."""
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            try:
                async with async_database(settings, "status") as connection:
                    while True:
                        live.update(_screen(await read_model.read(connection)), refresh=True)
                        await asyncio.sleep(seconds)
            except DatabaseUnavailable as error:
                live.update(_down(f"{error.message}: {error.hint}"), refresh=True)
            except DATABASE_GONE as error:
                live.update(_down(reason(error)), refresh=True)
            await asyncio.sleep(seconds)


def _down(why: str) -> Group:
    return Group(Text(SystemHealth.DOWN, style=COLOURS[SystemHealth.DOWN]), Text(f"  → {why}"))


def _screen(found: SystemStatus) -> Group:
    parts: list[RenderableType] = [Text(found.health, style=COLOURS[found.health])]
    parts += [Text(f"  → {reason}") for reason in found.reasons[:MOST_REASONS]]
    if (more := len(found.reasons) - MOST_REASONS) > 0:
        parts.append(Text(f"  → and {more} more: flagpost doctor", style="dim"))
    parts += [
        Text(),
        _table(
            ("workers", "alive", "paused", "stopped", "failing"),
            [
                (
                    escape(of.type),
                    _alive(of),
                    _number(of.paused, "yellow"),
                    _number(of.stopped, "yellow"),
                    _number(of.failing, "red"),
                )
                for of in found.workers
            ],
        ),
        Text(),
        _table(
            ("jobs", "waiting", "running", "due", "oldest due", "failed in 1 h"),
            [
                (
                    escape(of.job_type),
                    _number(of.waiting),
                    _number(of.running),
                    _number(of.due),
                    _span(of.oldest),
                    _number(of.failed, "red"),
                )
                for of in found.jobs
            ],
        ),
        Text(),
        _table(
            ("chains", "final block", "age", "payments out", "oldest"),
            [
                (
                    escape(of.chain) + ("" if of.is_active else " [dim](off)[/]"),
                    "–" if of.block is None else str(of.block),
                    _span(of.behind),
                    _number(of.payments),
                    _span(of.oldest),
                )
                for of in found.chains
            ],
        ),
    ]
    if found.alerts.critical or found.alerts.warning:
        colour = "red" if found.alerts.critical else "yellow"
        counts = f"{found.alerts.critical} critical, {found.alerts.warning} warning"
        parts += [Text(), Text.assemble("alerts open: ", (counts, colour), ": flagpost alerts list")]
    if found.notification_queue >= 0.01:
        parts += [Text(), Text(f"notification queue {found.notification_queue:.0%} full", style="yellow")]
    return Group(*parts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(
            column, justify="right" if place else "left", min_width=16 if place == 0 else None, no_wrap=True
        )
    for row in rows:
        table.add_row(*row)
    return table


def _alive(of: WorkersOfType) -> str:
    if not of.wanted:
        return "[dim]none[/]"
    shown = f"{of.alive}/{of.wanted}"
    return shown if of.alive == of.wanted else f"[red]{shown}[/]"


def _number(count: int, colour: str = "") -> str:
    if not count:
        return "[dim]0[/]"
    shown = f"{count:,}+" if count >= 10_000 else f"{count:,}"
    return f"[{colour}]{shown}[/]" if colour else shown


def _span(length: timedelta | None) -> str:
    return "[dim]–[/]" if length is None else span(length)
