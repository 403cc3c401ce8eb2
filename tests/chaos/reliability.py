"""``python -m tests.chaos.reliability`` (``make reliability``): the figures of docs/reliability.md, from what was kept.

The page is written by hand but for what stands between its two marks: that is made anew from the summaries of all runs
on this machine (``.chaos/runs``), of the simulation (``.chaos/simulation``), of the measured recoveries and of the
availability under faults (``.chaos/availability``).
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.availability import AVAILABILITY
from tests.chaos.recovery import RECOVERY
from tests.chaos.schedule import Layout
from tests.chaos.summary import ROOT, RUNS, load, total

PAGE = ROOT / "docs" / "reliability.md"
SIMULATION = ROOT / ".chaos" / "simulation"
BEGIN = "<!-- figures: made by `make reliability` -->"
END = "<!-- end of figures -->"

Summaries = Sequence[Mapping[str, Any]]


def figures(runs: Summaries, simulations: Summaries, recoveries: Summaries, availabilities: Summaries = ()) -> str:
    """The whole part between the marks."""
    parts = [
        *(of_processes(runs) if runs else ()),
        *(of_simulations(simulations) if simulations else ()),
        *(of_recovery(recoveries[-1]) if recoveries else ()),
        *(of_availability(availabilities) if availabilities else ()),
    ]
    return "\n".join(parts)


def of_processes(runs: Summaries) -> Iterator[str]:
    """Runs of real processes."""
    found = total(runs)
    first, last = runs[0]["at"][:10], runs[-1]["at"][:10]
    yield "### Real processes"
    yield ""
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    yield f"Runs from {first} to {last}, commits {commits} (`+`: with changes that were not committed yet)."
    yield ""
    yield from _table(
        ("", ""),
        [
            ("runs", _count(found["runs"])),
            *((f"– {_ON[layout]}", _count(found["layouts"].get(layout, 0))) for layout in Layout),
            ("– with BSC on anvil beside TRON", _count(found["with_evm"])),
            ("– with synchronous_commit off", _count(found["lazy"])),
            ("faults that hit", _count(found["faults"])),
            ("moves of an operator", _count(found["moves"])),
            ("lives of processes that ended", _count(found["ends"])),
            ("deposits", _count(found["deposits"])),
            ("payments on the chains", _count(found["payments"])),
            ("**payments made twice**", f"**{found['doubles']}**"),
            ("**jobs or money lost**", f"**{found['losses']}**"),
            ("runs that failed in another way", _count(found["failed_runs"])),
            ("all done after the last fault, median and longest", _pair(found, "settled")),
            ("a job without an owner after the last fault, median and longest", _pair(found, "orphaned")),
        ],
    )
    yield ""
    yield f"{len(found['by_kind'])} kinds of faults hit. How often each:"
    yield ""
    yield from _table(("fault", "hits"), [(kind, _count(count)) for kind, count in found["by_kind"].items()])
    yield ""
    yield from _table(("move", "times"), [(kind, _count(count)) for kind, count in found["by_move"].items()])
    yield ""
    failed = [run for run in runs if run["problems"]]
    if failed:
        yield "Runs that failed:"
        yield ""
        rows = [(str(run["seed"]), run["commit"], _in_a_cell(run["problems"])) for run in failed]
        yield from _table(("seed", "commit", "what"), rows)
        yield ""


def of_simulations(summaries: Summaries) -> Iterator[str]:
    """Runs of the same code in one process."""
    runs, faults = Counter[str](), Counter[str]()
    places: set[str] = set()
    for one in summaries:
        runs.update(one["runs"])
        faults.update(one["by_kind"])
        places.update(one["places_of_death"])
    yield "### In one process"
    yield ""
    yield from _table(
        ("", ""),
        [
            *((f"runs on {network}", _count(count)) for network, count in runs.items()),
            ("faults, moves and deposits", _count(faults.total())),
            ("steps, each a place to die", _count(sum(one["steps"] for one in summaries))),
            ("places of ours where a process was killed", _count(len(places))),
            ("payments", _count(sum(one["payments"] for one in summaries))),
            ("**payments made twice**", f"**{sum(one['doubles'] for one in summaries)}**"),
            ("**raw units missing**", f"**{sum(one['missing_raw'] for one in summaries)}**"),
            ("runs that failed", _count(sum(len(one["failed_seeds"]) for one in summaries))),
        ],
    )
    yield ""


def of_recovery(recovery: Mapping[str, Any]) -> Iterator[str]:
    """The newest measured recoveries."""
    yield "### Recovery without hands"
    yield ""
    yield (
        f"Measured {recovery['at'][:10]} at commit {recovery['commit']}, seconds. Rounds follow each other at once, so "
        "that a timer is met at its beginning: its longest wait and not its mean. A flag that rises within a second of "
        "a job is found by the claim that follows it, whatever became of its NOTIFY."
    )
    yield ""
    rows = [
        (one["measure"], f"{one['median']:g}", f"{one['min']:g}–{one['max']:g}", str(len(one["rounds"])), one["aim"])
        for one in recovery["results"]
    ]
    yield from _table(("fault", "median", "min–max", "rounds", "aim"), rows)
    yield ""


def of_availability(runs: Summaries) -> Iterator[str]:
    """How often a flag was taken in time, by all runs together."""
    flags, in_time = (sum(one[name] for one in runs) for name in ("flags", "in_time"))
    yield "### Availability under faults"
    yield ""
    yield (
        "A flag rises every second while processes, Postgres, nodes and links fail at random. Its wait is counted from "
        "the first attempt to raise it, so that a database that is away counts, until a worker has taken its job."
    )
    yield ""
    yield from _table(
        ("", ""),
        [
            ("minutes", f"{sum(one['minutes'] for one in runs):g}"),
            ("faults that hit", _count(sum(sum(one["faults"].values()) for one in runs))),
            ("lives of processes that ended", _count(sum(one["ends"] for one in runs))),
            ("flags", _count(flags)),
            ("**taken within 30 s** (promised: 99.9 %)", f"**{in_time / flags:.3%}**"),
            (
                "– of those that were not, the waits",
                ", ".join(f"{w:g} s" for one in runs for w in one["late"]) or "none",
            ),
            ("median, longest of the runs", f"{max(one['median'] for one in runs):g} s"),
            ("99 % within, longest of the runs", f"{max(one['p99'] for one in runs):g} s"),
            ("**payments made twice**", f"**{sum(one['doubles'] for one in runs)}**"),
            ("**jobs or money lost**", f"**{sum(one['losses'] for one in runs)}**"),
        ],
    )
    yield ""


def put(page: str, made: str) -> str:
    """The page with its figures replaced. Raises ValueError if it lacks a mark."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{PAGE.name} lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


_ON = {
    Layout.DIRECT: "Postgres by its socket",
    Layout.PROXIED: "through a proxy that can go silent",
    Layout.POOLED: "through PgBouncer in transaction mode",
    Layout.HOSTS: "on three hosts (network namespaces)",
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _count(number: int) -> str:
    return f"{number:,}"


def _pair(found: Mapping[str, Any], of: str) -> str:
    return f"{found[f'{of}_median']:.1f} s, {found[f'{of}_longest']:.1f} s"


def _in_a_cell(problems: Sequence[str]) -> str:
    counted = Counter(problem.replace("|", "/") for problem in problems)
    return "; ".join(problem if count == 1 else f"{problem} ({count} times)" for problem, count in counted.items())


def _kept(directory: Path, needs: str) -> list[dict[str, Any]]:
    """What was kept there and has ``needs``, oldest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))]
    return [one for one in found if needs in one]


def main() -> None:
    kept = (_kept(SIMULATION, "places_of_death"), _kept(RECOVERY, "results"), _kept(AVAILABILITY, "in_time"))
    made = figures(load(RUNS), *kept)
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} is up to date\n")


if __name__ == "__main__":
    main()
