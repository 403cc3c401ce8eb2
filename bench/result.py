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
    """As in docs/benchmarks.md, e.g. ``latency.from_call.p50``."""
    unit: str
    figures: Mapping[str, Sequence[float]]
    """By contestant, ours among them; one figure a round. Ours in other circumstances counts as a contestant."""
    floor: Sequence[float] = ()
    """A bare NOTIFY round trip of the same run, ms, one a round."""
    lower_is_better: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    def ratios(self) -> dict[str, dict[str, float]]:
        """Each peer to ours, ours to each peer, and each to the floor; of the medians."""
        medians = {name: Spread(rounds).median for name, rounds in self.figures.items() if rounds}
        found: dict[str, dict[str, float]] = {}
        ours = medians.get(OURS)
        if ours is not None:
            others = {name: value for name, value in medians.items() if name != OURS}
            found["to_ours"] = {name: _short(value / ours) for name, value in others.items() if ours}
            found["of_ours"] = {name: _short(ours / value) for name, value in others.items() if value}
        if self.floor and self.unit in _MILLISECONDS:
            floor = statistics.median(self.floor)
            in_ms = _MILLISECONDS[self.unit]
            found["to_floor"] = {name: _short(in_ms(value) / floor) for name, value in medians.items() if value}
        return found

    def as_json(self, **circumstances: Any) -> dict[str, Any]:
        """The object in bench/results. ``circumstances``: command, versions, machine, left_out."""
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
            "rounds": {name: [_short(value) for value in rounds] for name, rounds in self.figures.items() if rounds},
            "settings": dict(self.settings),
            **circumstances,
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
