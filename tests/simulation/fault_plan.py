"""What goes wrong, where: decided by the seed alone, and written down so that a run can be repeated and made smaller.

A run passes thousands of *points*: steps of processes, round trips to the database, calls of a node, notifications.
At most of them nothing happens. Where something does, that is a :class:`Decision`. A run that is given decisions takes
exactly these and draws none.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST = 40
"""Decisions a run: after so many it only has to recover."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that goes wrong."""

    place: str
    """Kind of point: ``step``, ``ask``, ``answer``, ``node``, ``notify``; or ``storm``, at a time of its own."""
    at: float
    """Which point of the run it is; of a storm, seconds since the beginning."""
    what: str
    seconds: float = 0.0
    """How long, where that means something."""
    dice: int = 0
    """Whom, how deep, which: read by whoever carries it out."""

    def __str__(self) -> str:
        where = f"{self.at:.1f} s" if self.place == "storm" else f"{self.place} {self.at:.0f}"
        return f"{where}: {self.what} ({self.seconds:g} s, {self.dice})"


@dataclass(frozen=True, slots=True)
class Menu:
    """What may go wrong at one kind of point."""

    rate: float
    """How often, of all points of its kind."""
    dishes: Mapping[str, float]
    """Weights."""


class FaultPlan:
    """``at`` is asked at every point."""

    def __init__(self, seed: int, menus: Mapping[str, Menu], decisions: Sequence[Decision] | None = None) -> None:
        """``decisions``: take these and no others."""
        self.taken: list[Decision] = []
        self.points: Counter[str] = Counter()
        self.calm = False
        """Nothing goes wrong any more."""
        self._random = random.Random(f"{seed} fault")
        self._menus = menus
        self._next = {kind: self._gap(menu) for kind, menu in menus.items()}
        self._given = None if decisions is None else {(one.place, one.at): one for one in decisions}

    def at(self, kind: str) -> Decision | None:
        """What happens at this point: most often nothing."""
        point = self.points[kind] = self.points[kind] + 1
        if self.calm:
            return None
        if self._given is not None:
            found = self._given.get((kind, point))
            if found is not None:
                self.taken.append(found)
            return found
        if point < self._next.get(kind, point + 1) or len(self.taken) >= MOST:
            return None
        menu = self._menus[kind]
        self._next[kind] = point + self._gap(menu)
        (what,) = self._random.choices(list(menu.dishes), list(menu.dishes.values()))
        decision = Decision(kind, point, what, a_while(self._random), self._random.randrange(1000))
        self.taken.append(decision)
        return decision

    def _gap(self, menu: Menu) -> int:
        """Points until the next decision."""
        return 1 + int(self._random.expovariate(menu.rate)) if menu.rate > 0 else 10**9


def a_while(dice: random.Random) -> float:
    """Seconds, from a blink to longer than any lease."""
    return round(dice.choice([0.2, 1.0, 4.0, 12.0, 40.0, 90.0]) * dice.uniform(0.5, 1.5), 2)
