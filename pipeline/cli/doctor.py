"""``flagpost doctor``: everything that has to be right, checked, with what to do where it is not."""

from typing import Annotated

import typer
from rich.markup import escape

from pipeline.admin.checks.examine import examine
from pipeline.admin.checks.findings import Finding, Findings, Level
from pipeline.cli.acting import JsonOption
from pipeline.cli.output import BAD, NOTE, OK, WARN, out, print_json
from pipeline.settings import Settings
from pipeline.workers.procfile import process_names

MARKS = {Level.OK: OK, Level.NOTE: NOTE, Level.WARN: WARN, Level.FAIL: BAD}


def doctor(
    as_json: JsonOption = False,
    full: Annotated[
        bool, typer.Option("--full", help="Compare every wallet, not only the newest 20,000: minutes, not seconds.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each check that found nothing.")] = False,
) -> None:
    """Check the whole set-up and say what to do.

    Database, schema, a NOTIFY round trip, configuration, processes, queue, wallets, payments; per chain: mnemonic,
    every node and its network, treasury, gas wallet, and what the gas policy `threshold` would spend on the wallets as
    they are. Exit code 1 if automation stands still somewhere, or money could leave.

    Example: [bold]flagpost doctor[/]
    """
    found = Findings(None if as_json else Printer(verbose=verbose))
    examine(found, Settings.load(), process_names(), full=full)
    if as_json:
        print_json(found.as_json())
    elif found.failed:
        out.print(f"\n[bold red]{found.failed} to repair[/], {found.warnings} to check")
    elif found.warnings:
        out.print(f"\n[bold]it works[/]; {found.warnings} to check")
    else:
        out.print("\n[bold green]all is well[/]")
    if found.failed:
        raise typer.Exit(1)


class Printer:
    """Prints findings as they come."""

    def __init__(self, *, verbose: bool) -> None:
        """``verbose``: a line for each check that passed, instead of one for all of a topic."""
        self._verbose = verbose

    def finding(self, found: Finding, *, is_detail: bool) -> None:
        """One line, and one for what to do."""
        if is_detail and not self._verbose:
            return
        out.print(f"{MARKS[found.level]} {escape(found.message)}")
        if found.todo:
            out.print(f"  [dim]→[/] {escape(found.todo)}")

    def summary(self, message: str) -> None:
        """One line for several checks that passed."""
        if not self._verbose:
            out.print(f"{OK} {escape(message)}")

    def about(self, chain: str) -> None:
        """A heading."""
        out.print(f"\n[bold]{escape(chain)}[/]")
