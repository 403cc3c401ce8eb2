"""The promised load under faults: a whole installation, deposits at a pace, misbehaving nodes, killed workers.

    python -m bench.promise [--minutes 30] [--per-hour 10000] [--chains tron,bsc] [--json]

Every process is a real one, as in `flagpost demo`. Deposits arrive at the pace; each becomes a consolidation, most of
them a gas top-up before it. Meanwhile the nodes lose, delay, falsify and refuse calls, and every so often a worker gets
a SIGKILL. At the end the chains say what was paid. Exit code 0 only if all of this held:

    at least so many payments an hour, counted from the first deposit until the last one is in its treasury
    less than 0.1 % of the jobs failed
    under 30 s on average from the creation of a job to its end, which is when its payment is final
    nothing was paid twice, nothing was lost: each treasury received exactly what was deposited
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.embedded.cluster import socket_directory
from pipeline.local.demo import DemoPlan, DemoProgress, Outcome, play
from pipeline.local.networks import playable

MOST_FAILED = 0.001
"""Of the jobs that ended."""
LONGEST_AVERAGE = 30.0
RECOVERY_SECONDS = 300.0
"""After the last deposit: by then everything has recovered without hands."""
KILL_EVERY = 30.0
SECONDS_AN_HOUR = 3_600


@dataclass(frozen=True)
class Verdict:
    """One promise."""

    what: str
    promised: str
    measured: str
    held: bool


def judged(outcome: Outcome, per_hour: float) -> list[Verdict]:
    """Each promise with what was measured."""
    jobs, chains = outcome.jobs, outcome.chains
    payments = sum(chain.gas_topups + chain.consolidations for chain in chains)
    rate = payments / outcome.seconds * SECONDS_AN_HOUR
    completed, failed = jobs["jobs_completed"], jobs["jobs_failed"]
    share = failed / max(1, completed + failed)
    average = float(jobs["average_seconds"] or 0)
    twice = sum(chain.audit.double_payments for chain in chains)
    lost = sum(abs(chain.deposited - chain.audit.treasury_received) for chain in chains)
    return [
        Verdict("payments an hour", f"≥ {per_hour:,.0f}", f"{rate:,.0f}", rate >= per_hour),
        Verdict("failed jobs", f"< {MOST_FAILED:.1%}", f"{share:.2%} of {completed + failed:,}", share < MOST_FAILED),
        Verdict(
            "average processing",
            f"< {LONGEST_AVERAGE:g} s",
            f"{average:.2f} s",
            completed > 0 and average < LONGEST_AVERAGE,
        ),
        Verdict("paid twice", "0", f"{twice:,}", twice == 0),
        Verdict("lost, raw units", "0", f"{lost:,}", lost == 0 and outcome.settled),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of deposits (default %(default)g)")
    parser.add_argument("--per-hour", type=float, default=10_000.0, help="payments promised (default %(default)g)")
    parser.add_argument("--pace", type=float, help="deposits an hour (default: as many as payments are promised)")
    parser.add_argument("--chains", default=",".join(playable()), help="(default %(default)s)")
    parser.add_argument("--wallets", type=int, default=200, help="on each chain (default %(default)s)")
    parser.add_argument("--kill-every", type=float, default=KILL_EVERY, help="seconds (default %(default)g)")
    parser.add_argument("--block-time", type=float, default=1.0, help="seconds (default %(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of deposits and faults (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one object instead of the table")
    options = parser.parse_args()
    chains = tuple(options.chains.split(","))
    seconds = options.minutes * 60
    pace = options.pace or options.per_hour
    plan = DemoPlan(
        wallets=options.wallets,
        deposits=max(1, round(pace * seconds / SECONDS_AN_HOUR / len(chains))),
        timeout=seconds + RECOVERY_SECONDS,
        chains=chains,
        faulty=True,
        seed=options.seed,
        block_time=options.block_time,
        spread=seconds,
        kill_every=options.kill_every,
    )
    with home() as place, told() as tell:
        outcome = asyncio.run(play(plan, place, None, tell))
    verdicts = judged(outcome, options.per_hour)
    if options.json:
        print(json.dumps(as_json(outcome, verdicts)))
    else:
        show(outcome, verdicts)
    return 0 if all(one.held for one in verdicts) else 1


def as_json(outcome: Outcome, verdicts: Sequence[Verdict]) -> dict[str, object]:
    """One object."""
    promises = {one.what: {"promised": one.promised, "measured": one.measured, "held": one.held} for one in verdicts}
    return {"promises": promises, **outcome.as_json()}


def show(outcome: Outcome, verdicts: Sequence[Verdict]) -> None:
    """The table, and what was wrong."""
    report = outcome.as_json()
    title = f"{report['deposits']:,} deposits in {report['seconds']:,.0f} s, {outcome.node_faults:,} calls met a fault"
    table = Table("", "promised", "measured", "", title=title)
    for one in verdicts:
        table.add_row(one.what, one.promised, one.measured, "held" if one.held else "[red]not held")
    console = Console()
    console.print(table)
    for line in (*outcome.faults, *([] if outcome.right else outcome.failures)):
        console.print(line, style="red", markup=False)


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A directory that the account of the embedded server can reach; gone afterwards."""
    place = Path(tempfile.mkdtemp(prefix="flagpost-promise-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(socket_directory(place), ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def told() -> Iterator[object]:
    """What moves, on stderr where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda progress: None
        return
    with console.status("starting") as status:

        def tell(progress: DemoProgress) -> None:
            share = progress.received / progress.due if progress.due else 0.0
            status.update(f"{progress.what} · {share:.0%} of all deposits are in the treasuries")

        yield tell


if __name__ == "__main__":
    sys.exit(main())
