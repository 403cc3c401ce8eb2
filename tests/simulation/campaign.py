"""``python -m tests.simulation.campaign``: many seeded runs in one process (``make simulation SEED=… RUNS=…``).

Of a run that fails, the fewest decisions that still fail are searched for, printed and kept, with the command that
repeats it. What came of all is kept as JSON in ``.chaos/simulation``. Exit code 1 if any failed.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.db.migrate import migrate
from pipeline.embedded.server import EmbeddedServer
from tests.chaos.shrink import shrink
from tests.chaos.summary import ROOT
from tests.conftest import TEST_SERVER, pytest_configure, temporary_home
from tests.simulation.database import SERVER, Database
from tests.simulation.fault_plan import Decision
from tests.simulation.ground import ground
from tests.simulation.judge import by_kind
from tests.simulation.run import NETWORKS, Result, run
from tests.simulation.summary import Summary

KEPT = ROOT / ".chaos" / "simulation"
SHRINK_SECONDS = 120.0
SAVE_SECONDS = 15.0


def shortest(result: Result, database: Database, seconds: float) -> Result:
    """The run with the fewest decisions found that fails alike, after at most about ``seconds``."""
    best, kind = result, by_kind(result.verdict)

    async def fails(decisions: Sequence[Decision]) -> bool:
        nonlocal best
        tried = run(result.seed, database, network=result.network, decisions=decisions)
        alike = bool(by_kind(tried.verdict) & kind)
        if alike:
            best = tried
        return alike

    asyncio.run(shrink(result.decisions, fails, seconds=seconds, tries=1))
    return best


def keep(result: Result, short: Result) -> Path:
    """Write down what repeats it."""
    path = KEPT / f"{result.network}-{result.seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "seed": result.seed,
        "network": result.network,
        "verdict": result.verdict,
        "decisions": [asdict(decision) for decision in short.decisions],
    }
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return path


def replay(path: Path, database: Database) -> Result:
    """Run what was kept, and tell its story."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    decisions = [Decision(**decision) for decision in kept["decisions"]]
    result = run(kept["seed"], database, network=kept["network"], decisions=decisions, told=say)
    tell(result)
    return result


def tell(result: Result) -> None:
    """What befell it, what is wrong, and the records."""
    for decision in result.decisions:
        say(f"  {decision}")
    for line in result.verdict:
        say(f"WRONG {line}")
    for table, rows in (result.picture or {}).items():
        say(table)
        for row in rows:
            say(f"  {row}")


def campaign(
    seeds: Sequence[int], networks: Sequence[str], database: Database, say: Callable[[str], None], shrink_seconds: float
) -> Iterator[Summary]:
    """Run them all, each on one of ``networks`` in turn; what is known after each."""
    summary = Summary(seeds[0], tuple(networks))
    for seed in seeds:
        result = run(seed, database, network=networks[seed % len(networks)])
        summary.add(result)
        if result.failed:
            short = shortest(result, database, shrink_seconds)
            path = keep(result, short)
            say(f"seed {seed} on {result.network} failed; of {len(result.decisions)} decisions it takes")
            for decision in short.decisions:
                say(f"  {decision}")
            for line in short.verdict:
                say(f"  WRONG {line}")
            say(f"repeat it:  make simulation REPLAY={path.relative_to(ROOT)}")
        yield summary


@contextmanager
def database() -> Iterator[Database]:
    """On a server of its own, which serves nothing else."""
    with temporary_home() as path, EmbeddedServer(path, settings=TEST_SERVER | SERVER) as server:
        asyncio.run(migrate(server.dsn))
        with ground(server.dsn) as made:
            yield made


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.campaign", description="Seeded runs in one process"
    )
    parser.add_argument("--seed", type=int, help="of the first run; the next ones count on (default: drawn)")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="only these (may be repeated)")
    parser.add_argument("--replay", type=Path, help="a run that was kept, with its story")
    parser.add_argument("--story", action="store_true", help="tell the story of each run")
    parser.add_argument("--shrink-seconds", type=float, default=SHRINK_SECONDS, help="0: do not look for a shorter one")
    arguments = parser.parse_args()
    pytest_configure()
    with database() as made:
        if arguments.replay:
            return int(replay(arguments.replay, made).failed)
        first = random.randrange(10**6) if arguments.seed is None else arguments.seed
        networks = arguments.network or list(NETWORKS)
        seeds = range(first, first + arguments.runs)
        if arguments.story:
            results = [run(seed, made, network=networks[seed % len(networks)], told=say) for seed in seeds]
            for result in results:
                tell(result)
            return int(any(result.failed for result in results))
        return _with_a_bar(seeds, networks, made, arguments.shrink_seconds)


def _with_a_bar(seeds: Sequence[int], networks: Sequence[str], made: Database, shrink_seconds: float) -> int:
    path = KEPT / f"runs-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.json"  # several run side by side
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    saved = time.monotonic()
    summary = None
    with Progress(*columns) as progress:
        task = progress.add_task(f"seeds from {seeds[0]}", total=len(seeds))
        for summary in campaign(seeds, networks, made, progress.console.print, shrink_seconds):
            progress.update(task, advance=1, description=f"{summary.payments} payments, {len(summary.failed)} failed")
            if time.monotonic() > saved + SAVE_SECONDS:
                saved = time.monotonic()
                summary.save(path)
    assert summary is not None
    summary.save(path)
    for line in summary.lines():
        say(line)
    say(f"kept in {path.relative_to(ROOT)}")
    return int(bool(summary.failed))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.environ.setdefault("PYTHONHASHSEED", "0") != "0" or sys.flags.hash_randomization:
        # The order of sets would differ from run to run.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.campaign", *sys.argv[1:]])  # noqa: S606
    sys.exit(main())
