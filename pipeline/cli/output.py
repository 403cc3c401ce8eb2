"""What commands print: tables for people, JSON for programs, errors that say what to do next.

Exit codes: 0 done, 1 it did not work (the message says why), 2 the command was typed wrongly.
Results go to stdout and everything else to stderr, so that `--json` can be piped. Colours only on a terminal.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.admin.errors import ActionError
from pipeline.log import span as span

_UNLIMITED = 10_000
"""Columns: in a pipe nothing is wrapped or cut off."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _UNLIMITED)

OK, BAD, WARN, NOTE = "[green]✓[/]", "[red]✗[/]", "[yellow]![/]", "[dim]·[/]"


class CommandError(ActionError):
    """A command cannot do what was asked. ``code`` is the exit code."""

    def __init__(self, message: str, hint: str = "", *, code: int = 1) -> None:
        super().__init__(message, hint)
        self.code = code


def usage(message: str, hint: str = "") -> CommandError:
    """The command was typed wrongly: exit code 2."""
    return CommandError(message, hint, code=2)


def print_error(error: ActionError) -> None:
    """One line for what is wrong and one for what to do."""
    err.print(f"[bold red]error[/]: {escape(error.message)}")
    if error.hint:
        err.print(f"  [dim]→[/] {escape(error.hint)}")


def print_json(value: Any) -> None:
    """One JSON document on one line; money is a decimal string, time is ISO 8601 in UTC."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table without frames: easy to read, easy to select. Cells may hold rich markup; escape foreign text."""
    aligned_right = set(right)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in aligned_right else "left", no_wrap=True, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, as people say it: ``8 s``, ``12 min``, ``3 h``, ``5 d``; ``never`` for None."""
    if moment is None:
        return "never"
    return span((now or datetime.now(UTC)) - moment)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | UUID):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
