"""Two versions of Flagpost side by side: the same measure in two checkouts, in turns, and the ratios.

    python -m bench.versions ../before -- bench.payments tron --json
    python -m bench.versions ../before --rounds 20 -- bench.run --only drain --peers none --rounds 1 --output {output}

Each checkout has its own environment in .venv (`make test` makes it). What follows `--` is run as `python -m …` in
both, once a round, first the one and then the other way round. A figure is a number in the JSON that it prints, or
writes to {output}. For each: the medians, and the ratio of this checkout to the other one, as the median of the rounds'
ratios with the interval that holds the true median with 95 % or more (order statistics, which assume nothing about how
figures are spread).
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.contestants import ROOT

CONFIDENCE = 0.95
LEAST_ROUNDS = 6
"""Below, no interval of order statistics is that sure."""
Figures = dict[str, list[tuple[float, float]]]
"""By name: of the other checkout and of this one, a pair for each round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of the other version, with its .venv")
    parser.add_argument("--rounds", type=int, default=10, help="(default %(default)s)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("measure", nargs="+", metavar="-- MODULE ARGUMENT")
    options = parser.parse_args()
    if options.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be at least {LEAST_ROUNDS}")
    python = options.other / ".venv" / "bin" / "python"
    if not python.exists():
        parser.error(f"{python} does not exist: run `make test` in {options.other}")
    console = Console(stderr=True)
    found: Figures = defaultdict(list)
    for number in track(range(options.rounds), description="rounds", console=console):
        checkouts = [options.other.resolve(), ROOT]
        turns = checkouts if number % 2 else checkouts[::-1]
        figures = {checkout: run(checkout, options.measure) for checkout in turns}
        other, this = (figures[checkout] for checkout in checkouts)
        for name in this.keys() & other.keys():
            found[name].append((other[name], this[name]))
    if not found:
        console.print("[red]nothing to compare: no number has the same name in both")
        return 1
    rows = [compared(name, pairs) for name, pairs in sorted(found.items())]
    if options.json:
        print(json.dumps(rows))
    else:
        show(rows, options.rounds)
    return 0


def run(checkout: Path, measure: Sequence[str]) -> dict[str, float]:
    """The figures of one run. Raises SystemExit with its last words where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.json"
        argv = [str(checkout / ".venv/bin/python"), "-m", *(part.format(output=output) for part in measure)]
        ended = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{' '.join(argv)} in {checkout} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
        text = output.read_text(encoding="utf-8") if output.exists() else ended.stdout
    return dict(numbers(json.loads(text), ""))


def numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """What is counted in a report: objects by key, those of bench.run by measure and contestant."""
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict) and "measure" in one:
                for contestant, rounds in one["rounds"].items():
                    yield f"{one['measure']} {one['unit']}, {contestant}", statistics.median(rounds)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def compared(name: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Medians of both, and the median ratio with its interval."""
    ratios = sorted(this / other for other, this in pairs if other)
    if len(ratios) < LEAST_ROUNDS:
        return {"figure": name, "other": 0, "this": statistics.median(this for _, this in pairs), "ratio": None}
    left_out = outside(len(ratios))
    return {
        "figure": name,
        "other": statistics.median(other for other, _ in pairs),
        "this": statistics.median(this for _, this in pairs),
        "ratio": statistics.median(ratios),
        "from": ratios[left_out],
        "to": ratios[-1 - left_out],
    }


def outside(count: int) -> int:
    """How many of the lowest, and as many of the highest, are outside of the interval around a median."""
    left_out, tail = 0, 0.5**count
    while 2 * (tail + math.comb(count, left_out + 1) * 0.5**count) <= 1 - CONFIDENCE:
        left_out += 1
        tail += math.comb(count, left_out) * 0.5**count
    return left_out


def show(rows: Sequence[dict[str, Any]], rounds: int) -> None:
    table = Table("figure", title=f"{rounds} rounds in turns; medians")
    for column in ("other", "this", "ratio", "95 % interval"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["ratio"] is None:
            table.add_row(row["figure"], "0", f"{row['this']:,.4g}", "—", "—")
            continue
        interval = f"{row['from']:.3f} to {row['to']:.3f}"
        table.add_row(row["figure"], f"{row['other']:,.4g}", f"{row['this']:,.4g}", f"{row['ratio']:.3f}", interval)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
