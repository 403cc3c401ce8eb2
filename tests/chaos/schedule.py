"""A run as data: on what stage, for how long, and every blow with its time. Drawn from a seed, kept as JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.blows import CATALOG, Blow

SECONDS = 20.0
BLOWS_PER_SECOND = 8.0


class Layout(StrEnum):
    """How the processes reach Postgres."""

    DIRECT = "direct"
    """By its Unix socket."""
    PROXIED = "proxied"
    """Through a proxy that can go silent."""
    POOLED = "pooled"
    """The pool through PgBouncer in transaction mode, LISTEN and leadership through the proxy."""
    HOSTS = "hosts"
    """From two hosts of their own, over links that can be cut."""

    @property
    def parts(self) -> frozenset[str]:
        """What a blow may need (``blows.Draw.needs``)."""
        return {
            Layout.DIRECT: frozenset(),
            Layout.PROXIED: frozenset({"proxy"}),
            Layout.POOLED: frozenset({"proxy", "pooler"}),
            Layout.HOSTS: frozenset({"hosts"}),
        }[self]


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run."""

    seed: int
    layout: Layout
    evm: bool
    """Whether BSC on anvil is there beside TRON."""
    lazy_commits: bool
    """synchronous_commit = off: a crash of the server loses its last commits."""
    seconds: float
    blows: tuple[Blow, ...]

    def only(self, blows: Iterable[Blow]) -> "Schedule":
        """The same run with only these blows."""
        return replace(self, blows=tuple(blows))

    @property
    def stage(self) -> str:
        """In words."""
        chains = "TRON and EVM" if self.evm else "TRON"
        return f"{self.layout}, {chains}, synchronous_commit {'off' if self.lazy_commits else 'on'}"

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "layout": str(self.layout),
            "evm": self.evm,
            "lazy_commits": self.lazy_commits,
            "seconds": self.seconds,
            "blows": [blow.to_json() for blow in self.blows],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Schedule":
        return cls(
            seed=int(body["seed"]),
            layout=Layout(body["layout"]),
            evm=bool(body["evm"]),
            lazy_commits=bool(body["lazy_commits"]),
            seconds=float(body["seconds"]),
            blows=tuple(Blow.from_json(one) for one in body["blows"]),
        )

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Schedule":
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def draw(
    seed: int,
    layouts: Iterable[Layout],
    *,
    evm: bool,
    seconds: float = SECONDS,
    rate: float = BLOWS_PER_SECOND,
) -> Schedule:
    """The schedule of ``seed``, the same every time. ``layouts`` and ``evm``: what this machine has; ``rate``: blows
    per second."""
    random = Random(seed)
    layout = random.choice(sorted(layouts))
    both = random.random() < 0.5 and evm
    lazy = random.random() < 0.25
    parts = layout.parts | ({"evm"} if both else set())
    kinds = [kind for kind, drawn in CATALOG.items() if not drawn.needs or drawn.needs in parts]
    weights = [CATALOG[kind].weight for kind in kinds]
    chosen = random.choices(kinds, weights, k=round(seconds * rate))
    times = sorted(round(random.uniform(0, seconds), 2) for _ in chosen)
    blows = tuple(Blow(at, kind, CATALOG[kind].arguments(random)) for at, kind in zip(times, chosen, strict=True))
    return Schedule(seed, layout, both, lazy, seconds, blows)
