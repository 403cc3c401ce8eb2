"""Runs the measures and writes bench/results/<date>.json.

python -m bench.run                          everything
python -m bench.run --only latency drain     some measures
python -m bench.run --short                  two minutes: whether it all still works, not how fast
"""

import argparse
import asyncio
import importlib
import json
import sys
import traceback
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench.bench import Bench
from bench.contestants import BENCH, ours, peers
from bench.stand import server

MEASURES = ("latency", "drain", "enqueue")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    console = Console(stderr=True)
    found, failed = [], []
    with server() as running, progress_bar(console) as progress:
        for name in options.only:
            task = progress.add_task(name, total=None)
            bench = Bench(
                running,
                [ours(), *(peer for peer in peers() if peer.missing is None)],
                options.rounds or (1 if options.short else 3),
                options.short,
                lambda done, task=task: progress.update(task, advance=1, description=done),
            )
            try:
                results = asyncio.run(importlib.import_module(f"bench.measures.{name}").measure(bench))
            except Exception as error:
                console.print(f"[red]{name} failed: {error}")
                console.print(traceback.format_exc(), markup=False)
                failed.append(name)
                continue
            found += [result.as_json(" ".join(sys.orig_argv), {"postgres": running.version()}) for result in results]
    for result in found:
        console.print(result["measure"], result["ours"], result["unit"], result["rounds"], result["ratios"])
    path = BENCH / "results" / f"{datetime.now(UTC):%Y-%m-%d}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if failed else 0


def progress_bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


if __name__ == "__main__":
    sys.exit(main())
