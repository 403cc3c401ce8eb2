"""Runs the measures and writes what they found as JSON, one object a measure.

python -m bench.run                          everything, to bench/results/<date>.json
python -m bench.run --only latency drain     some measures, to bench/results/partial/run.json
python -m bench.run --scale 0.01             everything in small, likewise
python -m bench.run --short                  three minutes: whether it all still works, not how fast

The file is written after every measure: Ctrl-C or SIGTERM ends the run and leaves those that were finished, marked as
partial. Where there is no terminal, each measure is a line when it ends.
"""

import argparse
import asyncio
import importlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.aims import AIMS
from bench.bench import Bench
from bench.contestants import BENCH, OURS, ours, peers
from bench.machine import machine, versions
from bench.stand import server

MEASURES = ("latency", "busy", "drain", "enqueue", "flips", "triggers", "idle", "size", "evm", "payments")
"""Modules of bench.measures."""
ON_DEMAND = ("history",)
"""More of them, which take longer than all the others: by ``--only`` alone."""
RESULTS = BENCH / "results"
COMMAND = "python -m bench.run"
INTERRUPTED = 130
"""Exit code, as shells have it."""
WIDTH = 160
MOST_FIGURES = 8
"""In the line of a measure."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*MEASURES, *ON_DEMAND),
        default=MEASURES,
        metavar="MEASURE",
        help=str((*MEASURES, *ON_DEMAND)),
    )
    parser.add_argument("--short", action="store_true", help="whether it works, not how fast it is")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes and times (default %(default)s)")
    parser.add_argument("--rounds", type=int, help="rounds that count (default 3, and 1 with --short)")
    parser.add_argument("--cases", nargs="+", default=(), metavar="CASE", help="of payments; as they are called there")
    parser.add_argument("--peers", choices=("all", "none"), default="all")
    parser.add_argument("--output", type=Path, help="where the results go")
    options = parser.parse_args()
    if options.scale <= 0 or (options.rounds is not None and options.rounds < 1):
        parser.error("--scale and --rounds must be positive")
    whole = tuple(options.only) == MEASURES and options.scale == 1 and not (options.short or options.cases)
    output = options.output or RESULTS / (f"{datetime.now(UTC):%Y-%m-%d}.json" if whole else "partial/run.json")
    console = console_here()
    run = Run(console, options, output)
    with sigterm_interrupts():
        failed = run.all()
    show(console, run.found)
    written = f"written to {output}" if run.found else "nothing written"
    console.print(f"{written} after {time.monotonic() - run.started:.0f} s", highlight=False)
    for name, why in run.missing.items():
        console.print(f"[yellow]left out: {name}: {why}", highlight=False)
    for name, why in failed.items():
        console.print(f"[red]failed: {name}: {why}", highlight=False)
    if run.interrupted:
        console.print(f"[red]interrupted: {run.partial()}", highlight=False)
        return INTERRUPTED
    return 1 if failed else 0


def console_here() -> Console:
    """Of stderr; lines are long where nobody looks at a terminal."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=WIDTH)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt as Ctrl-C does, also in a background where SIGINT is ignored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Run:
    """All measures, one after the other, on one server."""

    def __init__(self, console: Console, options: argparse.Namespace, output: Path) -> None:
        self.console = console
        self.options = options
        self.output = output
        self.started = time.monotonic()
        self.found: list[dict[str, Any]] = []
        self.missing: dict[str, str] = {}
        self.interrupted = False
        self._ended: list[str] = []
        """Measures that ran to their end."""

    def all(self) -> dict[str, str]:
        """The measures that failed, and why; a failed one keeps nobody from the others. An interrupt ends the run."""
        failed: dict[str, str] = {}
        everybody = [ours(), *(peers() if self.options.peers == "all" else ())]
        self.missing = {one.name: one.missing for one in everybody if one.missing is not None}
        taking_part = [one for one in everybody if one.missing is None]
        try:
            with server() as running, _progress(self.console) as progress:
                circumstances = {
                    "command": " ".join([COMMAND, *sys.argv[1:]]),
                    "versions": versions(running.version(), taking_part),
                    "machine": machine(),
                }
                tasks = {name: progress.add_task(name, total=None, start=False) for name in self.options.only}
                bench = Bench(
                    running,
                    taking_part,
                    self.options.rounds or (1 if self.options.short else 3),
                    self.options.short,
                    self.options.scale,
                    expect=lambda _: None,
                    advance=lambda _: None,
                    cases=self.options.cases,
                )
                for name, task in tasks.items():
                    _follow(bench, progress, task)
                    why = self._one(name, bench, circumstances)
                    if why is not None:
                        failed[name] = why
                        progress.update(task, description=f"[red]{name}: failed")
                    else:
                        progress.update(task, description=name, total=1, completed=1)
                    progress.stop_task(task)
        except KeyboardInterrupt:
            self.interrupted = True
        return failed

    def partial(self) -> str | None:
        """What the results lack of what was asked for; None when they lack nothing."""
        lacking = [name for name in self.options.only if name not in self._ended]
        return f"{', '.join(lacking)} did not end" if lacking else None

    def _one(self, name: str, bench: Bench, circumstances: dict[str, Any]) -> str | None:
        """Run a measure and keep what it found; why it failed, if it did."""
        started = time.monotonic()
        try:
            results = asyncio.run(importlib.import_module(f"bench.measures.{name}").measure(bench))
        except Exception as error:
            self.console.print_exception()
            return f"{type(error).__name__}: {error}"
        left_out = self.missing | bench.left_out
        self.missing |= bench.left_out
        found = [result.as_json(left_out=left_out, **circumstances) for result in results]
        self.found += found
        self._ended.append(name)
        self._write()
        if not self.console.is_terminal:
            self.console.print(line(name, found, time.monotonic() - started), highlight=False, soft_wrap=True)
        return None

    def _write(self) -> None:
        """The file holds what was found so far, whole at every moment."""
        partial = self.partial()
        found = [result | {"partial": partial} for result in self.found]
        self.output.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.output.with_suffix(".new")
        fresh.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(self.output)


def line(name: str, found: Sequence[dict[str, Any]], seconds: float) -> str:
    """A measure that ended, with our figures that aims are about, or the first ones."""
    aimed = {bound.measure for aim in AIMS for bound in aim.bounds}
    ours = [one for one in found if one["ours"] is not None]
    main = [one for one in ours if one["measure"] in aimed] or ours
    figures = (
        f"{one['measure'].removeprefix(f'{name}.')} {one['ours']:,g} {one['unit']}" for one in main[:MOST_FIGURES]
    )
    return f"{name}: {seconds:.0f} s; {', '.join(figures) or 'nothing measured'}"


def _follow(bench: Bench, progress: Progress, task: TaskID) -> None:
    """The measure that begins moves its own bar."""
    progress.start_task(task)
    bench.left_out = {}
    bench.expect = lambda steps: progress.update(task, total=steps)
    bench.advance = lambda done: progress.update(task, advance=1, description=done)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def show(console: Console, found: Sequence[dict[str, Any]]) -> None:
    """A table of ours beside everybody else."""
    table = Table("measure", "unit", OURS, "others", title="medians; × ours" if found else None)
    for one in found:
        ratios = {name: f" (×{ratio:g})" for name, ratio in one["ratios"].get("to_ours", {}).items()}
        others = (f"{name} {figure['median']:,g}{ratios.get(name, '')}" for name, figure in one["peers"].items())
        ours = "—" if one["ours"] is None else f"{one['ours']:,g}"
        table.add_row(one["measure"], one["unit"], ours, "\n".join(others))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
