"""A run's figures as JSON, one file a run in a directory that git ignores; docs/reliability.md is made from them."""

import json
import statistics
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.storm import Outcome

ROOT = Path(__file__).parents[2]
RUNS = ROOT / ".chaos" / "runs"
FAILURES = ROOT / ".chaos" / "failures"


def summarise(outcome: Outcome) -> dict[str, Any]:
    """What is kept of a run. Times in seconds."""
    schedule = outcome.schedule
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": schedule.seed,
        "layout": str(schedule.layout),
        "chains": ["tron", "bsc"] if schedule.evm else ["tron"],
        "lazy_commits": schedule.lazy_commits,
        "blows": len(schedule.blows),
        "faults": faults(outcome.struck),
        "moves": {label: count for label, count in sorted(outcome.struck.items()) if is_move(label) and count},
        "missed": dict(sorted(outcome.missed.items())),
        "deposits": outcome.deposits,
        "payments": outcome.count("payments"),
        "doubles": outcome.count("doubles"),
        "losses": outcome.count("losses"),
        "problems": [_in_a_line(problem) for problem in outcome.problems],
        "ends": outcome.ends,
        "settled_seconds": round(outcome.settled_seconds, 2),
        "seconds": round(outcome.seconds, 2),
        "orphaned_seconds": [round(one, 2) for one in outcome.orphaned],
        "orphaned_in_calm_seconds": [round(one, 2) for one in outcome.orphaned_in_calm],
    }


def faults(struck: Mapping[str, int]) -> dict[str, int]:
    """What hit, by kind, without what people did. One that hits several processes at once counts once."""
    return {label: count for label, count in sorted(struck.items()) if not is_move(label) and count}


def is_move(label: str) -> bool:
    return label.startswith("operator:")


def save(summary: Mapping[str, Any], directory: Path = RUNS) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    path = directory / f"{summary['seed']}-{stamp}.json"
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return path


def load(directory: Path = RUNS) -> list[dict[str, Any]]:
    """Of all runs that are there, oldest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))]
    return sorted(found, key=lambda summary: str(summary["at"]))


def total(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several runs together."""
    hits: Counter[str] = Counter()
    moves: Counter[str] = Counter()
    for summary in summaries:
        hits.update(summary["faults"])
        moves.update(summary["moves"])
    orphaned = [one for summary in summaries for one in summary["orphaned_in_calm_seconds"]]
    return {
        "runs": len(summaries),
        "faults": sum(hits.values()),
        "moves": sum(moves.values()),
        "by_kind": dict(sorted(hits.items())),
        "by_move": dict(sorted(moves.items())),
        "layouts": dict(Counter(summary["layout"] for summary in summaries)),
        "with_evm": sum("bsc" in summary["chains"] for summary in summaries),
        "lazy": sum(summary["lazy_commits"] for summary in summaries),
        **{
            name: sum(summary[name] for summary in summaries)
            for name in ("payments", "doubles", "losses", "deposits", "ends")
        },
        "failed_runs": sum(bool(summary["problems"]) for summary in summaries),
        "settled_median": _median([summary["settled_seconds"] for summary in summaries]),
        "settled_longest": max((summary["settled_seconds"] for summary in summaries), default=0.0),
        "orphaned_median": _median(orphaned),
        "orphaned_longest": max(orphaned, default=0.0),
    }


def commit() -> str:
    """What is checked out; ``+`` where files differ from it."""
    described = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _in_a_line(problem: str) -> str:
    """How it begins, and how it ends where that is a traceback."""
    first, _, rest = problem.partition("\n")
    return f"{first} … {rest.rpartition(chr(10))[2].strip()}" if "Traceback" in first else first


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 2) if values else 0.0
