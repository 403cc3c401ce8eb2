"""``python -m tests.chaos.run``: seeded runs of real processes under faults (``make chaos SEED=… RUNS=…``).

Prints the seed, the faults by kind, payments, doubles, losses and recovery times of each run. Where one fails, the
shortest schedule that fails is searched for, printed and kept, with the command that replays it. Exit code 1 then.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from tests.chains.evm.anvil import found
from tests.chaos import hosts, pooler
from tests.chaos.blows import Blow
from tests.chaos.schedule import BLOWS_PER_SECOND, SECONDS, Layout, Schedule, draw
from tests.chaos.shrink import shrink
from tests.chaos.storm import Outcome, run
from tests.chaos.summary import FAILURES, save, summarise, total
from tests.conftest import pytest_configure

SHRINK_SECONDS = 600.0


def available() -> tuple[list[Layout], bool, list[str]]:
    """The layouts that this machine can make, whether it has anvil, and why it lacks what it lacks."""
    reasons = {Layout.HOSTS: hosts.unavailable(), Layout.POOLED: pooler.unavailable()}
    lacking = [f"no runs on {layout}: {reason}" for layout, reason in reasons.items() if reason]
    evm = found() is not None
    if not evm:
        lacking.append("no runs on EVM: anvil is not installed (npm ci in tests/clients)")
    return [layout for layout in Layout if not reasons.get(layout)], evm, lacking


async def one_run(schedule: Schedule) -> Outcome:
    """Run it; the log is kept only where it fails."""
    with tempfile.TemporaryDirectory(prefix="flagpost-chaos-") as directory:
        log = Path(directory) / "processes.log"
        outcome = await run(schedule, log)
        if outcome.problems:
            kept = FAILURES / f"seed-{schedule.seed}.log"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(log.read_bytes() if log.exists() else b"")
        return outcome


async def shortest(schedule: Schedule, seconds: float) -> Schedule:
    """What is left of a schedule that failed, after at most about ``seconds``."""

    async def fails(blows: Sequence[Blow]) -> bool:
        outcome = await run(schedule.only(blows), Path(os.devnull))
        say(f"  {len(blows)} blows: {'fails' if outcome.problems else 'passes'}")
        return bool(outcome.problems)

    blows, how = await shrink(schedule.blows, fails, seconds=seconds)
    say(f"  {how.runs} runs in {how.seconds:.0f} s{'' if how.complete else '; the time is up'}")
    return schedule.only(blows)


def report(outcome: Outcome) -> dict[str, Any]:
    """Print a run's figures; its summary."""
    summary = summarise(outcome)
    say(
        f"seed {summary['seed']} ({outcome.schedule.stage}): {sum(summary['faults'].values())} faults, "
        f"{sum(summary['moves'].values())} moves of an operator, {summary['ends']} processes ended; "
        f"{summary['deposits']} deposits, {summary['payments']} payments, {summary['doubles']} doubles, "
        f"{summary['losses']} losses; settled in {summary['settled_seconds']:.1f} s, {summary['seconds']:.0f} s in all"
    )
    for label, count in summary["faults"].items():
        logger.debug("{:5} {}", count, label)
    for problem in summary["problems"]:
        say(f"PROBLEM {problem}")
    return summary


async def campaign(schedules: Sequence[Schedule], *, shrink_seconds: float) -> int:
    """Run them one after the other; how many failed."""
    summaries = []
    failed = 0
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does: whatever was brought up is taken down again.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    for schedule in schedules:
        outcome = await one_run(schedule)
        summaries.append(report(outcome))
        save(summaries[-1])
        if not outcome.problems:
            continue
        failed += 1
        path = FAILURES / f"seed-{schedule.seed}.json"
        schedule.save(path)
        say(f"what the processes said:  {path.with_suffix('.log').relative_to(Path.cwd())}")
        if not shrink_seconds:
            say(f"replay it:  make chaos SCHEDULE={path.relative_to(Path.cwd())}")
            continue
        path = FAILURES / f"seed-{schedule.seed}-shortest.json"
        say(f"looking for the shortest schedule that fails, for {shrink_seconds:.0f} s at most")
        found_short = await shortest(schedule, shrink_seconds)
        found_short.save(path)
        left = f"{len(found_short.blows)} of {len(schedule.blows)} blows"
        say(f"seed {schedule.seed}, shortest schedule that failed ({left}):")
        for blow in found_short.blows:
            say(f"  {blow}")
        say(f"replay it:  make chaos SCHEDULE={path.relative_to(Path.cwd())}")
    of_all = total(summaries)
    say(
        f"{of_all['runs']} runs, {of_all['faults']} faults, {of_all['payments']} payments, "
        f"{of_all['doubles']} doubles, {of_all['losses']} losses, {failed} runs failed"
    )
    for label, count in of_all["by_kind"].items():
        say(f"{count:6} {label}")
    return failed


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.run", description="Runs of real processes under faults"
    )
    parser.add_argument("--seed", type=int, help="of the first run; the next ones count on (default: drawn)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of storm in each run")
    parser.add_argument("--rate", type=float, default=BLOWS_PER_SECOND, help="blows per second")
    parser.add_argument(
        "--layout", type=Layout, action="append", choices=list(Layout), help="only these (may be repeated)"
    )
    parser.add_argument("--schedule", type=Path, help="replay this one")
    parser.add_argument("--shrink-seconds", type=float, default=SHRINK_SECONDS, help="0: do not look for a shorter one")
    parser.add_argument("--print", action="store_true", help="print the schedules and run nothing")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level=os.environ.get("FLAGPOST_CHAOS_LOG", "WARNING"))
    pytest_configure()
    if arguments.schedule:
        schedules = [Schedule.load(arguments.schedule)] * arguments.runs
    else:
        layouts, evm, lacking = available()
        for line in lacking:
            say(line)
        wanted = [layout for layout in layouts if layout in (arguments.layout or layouts)]
        first = random.randrange(10**6) if arguments.seed is None else arguments.seed
        options = {"evm": evm, "seconds": arguments.seconds, "rate": arguments.rate}
        schedules = [draw(seed, wanted, **options) for seed in range(first, first + arguments.runs)]
    if arguments.print:
        for schedule in schedules:
            say(f"seed {schedule.seed} ({schedule.stage})")
            for blow in schedule.blows:
                say(f"  {blow}")
        return 0
    return 1 if asyncio.run(campaign(schedules, shrink_seconds=arguments.shrink_seconds)) else 0


if __name__ == "__main__":
    sys.exit(main())
