"""What the figures are held against. Data; bench/report.py writes the table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Mapping[str, Any]]
"""Results of one run by measure, as in bench/results."""


@dataclass(frozen=True)
class Bound:
    """One bound on ours, or on ours divided by something of the same run."""

    measure: str
    at_most: float | None = None
    at_least: float | None = None
    against: str | None = None
    """A peer, or ours in other circumstances; ``BEST`` for the best of the peers, ``FLOOR`` for a bare NOTIFY."""
    over: str | None = None
    """Another measure, whose figure of ours is divided by."""

    def value(self, found: Found) -> float | None:
        """None where it was not measured."""
        result = found.get(self.measure)
        if result is None or result["ours"] is None:
            return None
        if self.over is not None:
            other = found.get(self.over)
            return result["ours"] / other["ours"] if other and other["ours"] else None
        if self.against is None:
            return float(result["ours"])
        if self.against == FLOOR:
            return result["ours"] / result["floor"]["median"] if result["floor"] else None
        if self.against == BEST:
            others = [figure["median"] for name, figure in result["peers"].items() if "flagpost" not in name]
            best = (min if result["lower_is_better"] else max)(others, default=None)
        else:
            best = result["peers"].get(self.against, {}).get("median")
        return result["ours"] / best if best else None

    def holds(self, found: Found) -> bool | None:
        """None where it was not measured."""
        value = self.value(found)
        if value is None:
            return None
        return (self.at_least or -math.inf) <= value <= (self.at_most or math.inf)

    def words(self, found: Found) -> str:
        """``latency.from_call.p50 ≤ 0.75 × procrastinate``."""
        unit = found[self.measure]["unit"] if self.measure in found else ""
        bound = f"≤ {self.at_most:,g}" if self.at_most is not None else f"≥ {self.at_least:,g}"
        other = self.against or self.over
        return f"`{self.measure}` {bound} {f'× {other}' if other else unit}".rstrip()


@dataclass(frozen=True)
class Aim:
    """One line of the table."""

    number: int
    what: str
    bounds: Sequence[Bound]


FLOOR = "a bare NOTIFY"
BEST = "the best peer"
EMPTY = "flagpost, nearly empty"
WITHOUT = "without triggers"
ASYNCPG = "pgqueuer (asyncpg)"
SIZED = ("claim", "finish", "claim_500", "sweep_500", "sweep_idle", "next_due", "rescue", "balances_50", "latency.p50")

AIMS = (
    Aim(
        1,
        "a flag is committed, a handler starts; idle system",
        (
            Bound("latency.from_call.p50", at_most=2.5),
            Bound("latency.from_call.p99", at_most=5.0),
            Bound("latency.after_commit.p50", at_most=1.3),
            Bound("latency.from_call.p50", at_most=1.0, against=BEST),
            Bound("latency.from_call.p99", at_most=1.0, against=BEST),
            Bound("latency.from_call.p50", at_most=0.75, against=ASYNCPG),
            Bound("latency.from_call.p50", at_most=0.55, against="procrastinate"),
            Bound("latency.from_call.p50", at_most=4.0, against=FLOOR),
        ),
    ),
    Aim(
        2,
        "jobs that do nothing, drained with all their bookkeeping by one process and by two",
        (
            Bound("drain.1.rate", at_least=30_000),
            Bound("drain.2.rate", at_least=45_000),
            Bound("drain.2.rate", at_least=1.3, over="drain.1.rate"),
            Bound("drain.1.rate", at_least=1.1, against="graphile-worker"),
            Bound("drain.1.rate", at_least=1.1, against="pg-boss"),
            Bound("drain.1.rate", at_least=2.0, against=ASYNCPG),
            Bound("drain.1.rate", at_least=35.0, against="procrastinate"),
            Bound("drain.1.cpu", at_most=0.5, against=ASYNCPG),
        ),
    ),
    Aim(
        3,
        "flagged wallets enqueued in bulk",
        (
            Bound("enqueue.rate", at_least=80_000),
            Bound("enqueue.rate", at_least=1.6, against=ASYNCPG),
        ),
    ),
    Aim(
        4,
        "balances read from a local EVM node and stored, by one sync",
        (
            Bound("evm.sync.next_door", at_least=20_000),
            Bound("evm.sync.next_door", at_least=100, against="one by one"),
            Bound("evm.sync.20_ms_away", at_least=100, against="one by one"),
        ),
    ),
    Aim(
        6,
        "1,000,000 wallets and 10,000,000 finished jobs, then also an old transaction",
        (
            *(Bound(f"size.{name}", at_most=1.3, against=EMPTY) for name in SIZED),
            *(Bound(f"held.{name}", at_most=2.0, against=EMPTY) for name in SIZED),
        ),
    ),
    Aim(
        7,
        "gas top-ups in a block of one second, from one sender",
        (
            Bound("evm.topups", at_least=100),
            Bound("evm.topups", at_least=50, against="one by one"),
        ),
    ),
    Aim(
        8,
        "100,000 balances written with the triggers",
        (*(Bound(f"triggers.{mix}", at_most=1.5, against=WITHOUT) for mix in ("unchanged", "changed", "flipping")),),
    ),
    Aim(
        11,
        "memory of a sync process at 1,000,000 wallets",
        (Bound("idle.sync.memory", at_most=120), Bound("evm.sync.memory", at_most=120)),
    ),
    Aim(
        12,
        "flags turned over by 8 sessions, each its own commit",
        (Bound("flips.rate", at_least=0.6, against=WITHOUT),),
    ),
)
"""9 and 10 are in docs/reliability.md. 5 is how the sync is made: between two reads of a balance, which `sync_interval`
sets, only blocks are asked for."""
