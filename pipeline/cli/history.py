"""``flagpost history``: months of finished jobs, and their way to a file."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.admin import history
from pipeline.admin.history import ExportedMonth, ExportForm, HistoryMonth
from pipeline.cli.acting import JsonOption, run_action
from pipeline.cli.output import CommandError, age, err, print_json, print_table, usage
from pipeline.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Finished jobs by month: list, export to a file.")

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)
STDOUT = "-"


@app.command("list")
def list_months(as_json: JsonOption = False) -> None:
    """The months of job_history: jobs, size, whether they were exported, and when each leaves.

    Example: [bold]flagpost history list[/]
    """
    found = run_action(Settings.load(), "history list", history.months)
    if as_json:
        print_json([{**asdict(month), "month": f"{month.month:%Y-%m}", "leaves_on": _day(month)} for month in found])
        return
    if not found:
        err.print("no job has moved to job_history yet")
        return
    print_table(
        ("month", "jobs", "failed", "size", "exported", "leaves"),
        [_row(month) for month in found],
        right=("jobs", "failed", "size"),
    )


@app.command()
def export(
    first: Annotated[str, typer.Argument(help="The month, or the first of several: 2026-08.", metavar="MONTH")],
    file: Annotated[str, typer.Argument(help="The file to write; - for standard output.")],
    through: Annotated[str | None, typer.Option(help="The last month, where there are several.")] = None,
    form: Annotated[ExportForm | None, typer.Option("--format", help="Default: as the file is named.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write months of job_history to a file: CSV, or a JSON object a line.

    A month that stands in a file may be dropped once history.keep_months says so. Standard output is not a file: a
    month that is written there still waits for its export.

    Example: [bold]flagpost history export 2026-08 jobs-2026-08.csv[/]
    """
    begin = _month(first)
    end = begin if through is None else _month(through)
    if end < begin:
        raise usage(f"--through {through} is before {first}")
    how = form or _form_of(file)
    with _target(file, overwrite=overwrite) as sink:
        written = _write(begin, end, how, sink)
    changed: Sequence[date] = ()
    if file != STDOUT:
        path = str(Path(file).absolute())
        changed = run_action(
            Settings.load(), "history export", lambda connection: history.note_export(connection, written, path)
        )
    _tell(written, changed, file, as_json=as_json)


def _write(begin: date, end: date, how: ExportForm, sink: BinaryIO) -> Sequence[ExportedMonth]:
    with _progress() as tell:
        return run_action(
            Settings.load(),
            "history export",
            lambda connection: history.export(connection, begin, end, how, sink, tell),
        )


def _tell(written: Sequence[ExportedMonth], changed: Sequence[date], file: str, *, as_json: bool) -> None:
    rows = sum(month.rows for month in written)
    if as_json and file != STDOUT:
        months = [{"month": f"{one.month:%Y-%m}", "rows": one.rows} for one in written]
        print_json({"file": file, "rows": rows, "months": months, "changed": [f"{one:%Y-%m}" for one in changed]})
    else:
        err.print(f"{rows} jobs of {len(written)} months written to {escape(file)}")
    for month in changed:
        err.print(f"jobs have moved to {month:%Y-%m} meanwhile: export it again")


@contextlib.contextmanager
def _target(file: str, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Where to write. A file has its name once all of it is on the disk, and not before."""
    if file == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists() and not overwrite:
        raise CommandError(f"{file} is there already", "name another one, or add --overwrite")
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(path)
        directory = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where that is a terminal, nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda done, due: None
        return
    columns = (TextColumn("jobs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("jobs", total=None)
        yield lambda done, due: bar.update(task, completed=done, total=due)


def _month(text: str) -> date:
    match = _MONTH.fullmatch(text)
    if match is None or match[1] == "0000":
        raise usage(f"{text!r} is not a month", "write it as 2026-08")
    return date(int(match[1]), int(match[2]), 1)


def _form_of(file: str) -> ExportForm:
    return ExportForm.JSONL if Path(file).suffix in (".jsonl", ".ndjson", ".json") else ExportForm.CSV


def _row(month: HistoryMonth) -> tuple[str, ...]:
    exported = "no"
    if month.exported_at is not None:
        changed = "" if month.is_exported else ", changed since"
        exported = f"{age(month.exported_at)} ago{changed}: {escape(month.exported_to or '')}"
    leaves = _day(month) or "never"
    if month.waits_for_export:
        leaves = f"[yellow]{leaves}, waits for its export[/]"
    size = f"{month.bytes / 1024**2:.1f} MB"
    return f"{month.month:%Y-%m}", str(month.jobs), str(month.failed), size, exported, leaves


def _day(month: HistoryMonth) -> str | None:
    return None if month.leaves_on is None else month.leaves_on.isoformat()
