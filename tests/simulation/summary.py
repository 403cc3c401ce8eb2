"""What came of many runs, as figures."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.summary import commit
from tests.simulation.process import Place
from tests.simulation.run import Result


@dataclass(slots=True)
class Summary:
    """Of the runs so far."""

    first_seed: int
    networks: tuple[str, ...]
    commit: str = field(default_factory=commit)
    runs: Counter[str] = field(default_factory=Counter)
    """By network."""
    failed: list[int] = field(default_factory=list)
    """Seeds."""
    faults: Counter[str] = field(default_factory=Counter)
    """By kind, moves of operators and deposits included."""
    died_at: Counter[Place] = field(default_factory=Counter)
    """Where tasks of ours stood when their process was killed."""
    steps: int = 0
    payments: int = 0
    doubles: int = 0
    missing: int = 0
    """Raw units that were due in the treasury and not there."""
    simulated_seconds: float = 0.0
    real_seconds: float = 0.0

    def add(self, result: Result) -> None:
        self.runs[result.network] += 1
        if result.failed:
            self.failed.append(result.seed)
        self.faults.update(result.happened)
        self.died_at.update(result.died_at)
        self.steps += result.steps
        self.payments += result.payments
        self.doubles += result.doubles
        self.missing += result.missing
        self.simulated_seconds += result.seconds
        self.real_seconds += result.real_seconds

    def as_json(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "first_seed": self.first_seed,
            "runs": dict(self.runs),
            "failed_seeds": self.failed,
            "faults": sum(self.faults.values()),
            "by_kind": dict(self.faults.most_common()),
            "payments": self.payments,
            "doubles": self.doubles,
            "missing_raw": self.missing,
            "steps": self.steps,
            "places_of_death": {f"{file}:{line}": count for (file, line), count in sorted(self.died_at.items())},
            "simulated_seconds": round(self.simulated_seconds),
            "real_seconds": round(self.real_seconds, 1),
        }

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """For people."""
        number = self.runs.total()
        yield (
            f"{number} runs, {self.faults.total()} faults, {self.payments} payments, {self.doubles} doubles, "
            f"{self.missing} raw units missing, {len(self.failed)} runs failed"
        )
        yield (
            f"{self.steps} steps, each a place to die; {self.faults['kill']} kills at {len(self.died_at)} awaits "
            f"of ours; {self.simulated_seconds / 3600:.1f} h in {self.real_seconds:.0f} s, "
            f"{1000 * self.real_seconds / number:.0f} ms a run"
        )
        for kind, count in self.faults.most_common():
            yield f"{count:7} {kind}"
