"""What a measure found: figures of all contestants over the rounds, and their ratios."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.contestants import OURS

FLOOR = "bare NOTIFY"


@dataclass(frozen=True)
class Spread:
    """One contestant's figures, one a round."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, float]:
        return {"median": _short(self.median), "min": _short(min(self.rounds)), "max": _short(max(self.rounds))}


@dataclass
class Result:
    """One measure of one run."""

    measure: str
    """As in docs/benchmarks.md, e.g. ``latency.idle.from_call.p50``."""
    unit: str
    figures: Mapping[str, Sequence[float]]
    """By contestant, ours among them; one figure a round."""
    floor: Sequence[float] = ()
    """A bare NOTIFY round trip of the same run, ms, one a round."""
    lower_is_better: bool = True
    aim: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Who did not take part, and why."""

    def ratios(self) -> dict[str, dict[str, float]]:
        """Each peer to ours and each to the floor, of the medians."""
        medians = {name: Spread(rounds).median for name, rounds in self.figures.items() if rounds}
        found: dict[str, dict[str, float]] = {}
        if ours := medians.get(OURS):
            found["to_ours"] = {name: _short(value / ours) for name, value in medians.items() if name != OURS}
        if self.floor and self.unit in _MILLISECONDS:
            floor = statistics.median(self.floor)
            in_ms = _MILLISECONDS[self.unit]
            found["to_floor"] = {name: _short(in_ms(value) / floor) for name, value in medians.items() if value}
        return found

    def as_json(self, command: str, versions: Mapping[str, str]) -> dict[str, Any]:
        """The object in bench/results."""
        ours = Spread(self.figures[OURS]) if self.figures.get(OURS) else None
        return {
            "measure": self.measure,
            "unit": self.unit,
            "lower_is_better": self.lower_is_better,
            "ours": _short(ours.median) if ours else None,
            "min": _short(min(ours.rounds)) if ours else None,
            "max": _short(max(ours.rounds)) if ours else None,
            "peers": {
                name: Spread(rounds).as_json() for name, rounds in self.figures.items() if name != OURS and rounds
            },
            "floor": Spread(self.floor).as_json() if self.floor else None,
            "ratios": self.ratios(),
            "rounds": {name: [_short(value) for value in rounds] for name, rounds in self.figures.items()},
            "aim": self.aim,
            "settings": dict(self.settings),
            "left_out": dict(self.left_out),
            "command": command,
            "versions": dict(versions),
        }


_MILLISECONDS: Mapping[str, Callable[[float], float]] = {
    "ms": lambda value: value,
    "jobs/s": lambda value: 1000 / value,
    "µs/job": lambda value: value / 1000,
}
"""How a figure becomes the milliseconds of one job, to be held against a round trip."""


def _short(value: float) -> float:
    """Four digits are more than the machine can repeat."""
    return float(f"{value:.4g}")
