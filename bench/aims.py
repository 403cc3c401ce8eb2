"""What the figures are held against. Data; bench/report.py writes the table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contestants import OURS

Found = Mapping[str, Mapping[str, Any]]
"""Results of one run by measure, as in bench/results."""


@dataclass(frozen=True)
class Bound:
    """One bound on ours, or on ours divided by something of the same run or by what it was."""

    measure: str
    at_most: float | None = None
    at_least: float | None = None
    against: str | None = None
    """A peer, or ours in other circumstances; ``BEST`` for the best of the peers, ``FLOOR`` for a bare NOTIFY."""
    over: str | None = None
    """Another measure, whose figure of ours is divided by."""
    of: str = OURS
    """Whose figure; by default ours."""
    before: float | None = None
    """Ours at the commit ``BEFORE``, measured on the same machine."""

    def value(self, found: Found) -> float | None:
        """None where it was not measured."""
        result = found.get(self.measure)
        figure = None if result is None else self._figure(result)
        if result is None or figure is None:
            return None
        if self.before is not None:
            return figure / self.before
        if self.over is not None:
            other = found.get(self.over)
            return figure / other["ours"] if other and other["ours"] else None
        if self.against is None:
            return figure
        if self.against == FLOOR:
            return figure / result["floor"]["median"] if result["floor"] else None
        if self.against == BEST:
            others = [one["median"] for name, one in result["peers"].items() if "flagpost" not in name]
            best = (min if result["lower_is_better"] else max)(others, default=None)
        else:
            best = result["peers"].get(self.against, {}).get("median")
        return figure / best if best else None

    def _figure(self, result: Mapping[str, Any]) -> float | None:
        figure = result["ours"] if self.of == OURS else result["peers"].get(self.of, {}).get("median")
        return None if figure is None else float(figure)

    def holds(self, found: Found) -> bool | None:
        """None where it was not measured."""
        value = self.value(found)
        if value is None:
            return None
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= value <= high

    def words(self, found: Found) -> str:
        """``latency.from_call.p50 ≤ 1 × the best peer``."""
        unit = found[self.measure]["unit"] if self.measure in found else ""
        bound = f"≥ {_plain(self.at_least)}" if self.at_most is None else f"≤ {_plain(self.at_most)}"
        other = self.against or self.over
        if self.before is not None:
            other = f"{_plain(self.before)} before"
        whose = "" if self.of == OURS else f" ({self.of})"
        return f"`{self.measure}`{whose} {bound} {f'× {other}' if other else unit}".rstrip()


def _plain(value: float | None) -> str:
    return f"{value:,.3g}" if value is not None and abs(value) < 1000 else f"{value:,g}"


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
SIZED = ("claim", "look", "finish", "claim_500", "sweep_500", "sweep_idle", "next_due", "rescue", "balances_50")
FASTER = 1 / 1.5
"""Of the processors' time, where as much again by half is done in a second of it."""
ONE_AT_A_TIME, TWO = "one at a time", "two processes"
BEFORE = "30fa9e8"
"""The commit of the figures in ``before``, on 2 cores that did nothing else. They are from another run than those that
they are held against: where a bound is close, ``python -m bench.versions`` runs both in turns."""


@dataclass(frozen=True)
class PaymentsBefore:
    """On one chain at ``BEFORE``."""

    rate: float
    """Payments a second of one process of each kind."""
    rate_of_two: float
    single_p50: float
    """Flag → broadcast in ms, one flag at a time."""
    single_p99: float


DRAIN_CPU: Mapping[int, float] = {1: 70.5, 2: 78.0}
"""µs a job, by processes; from bench/results/2026-11-26.json, the last run before that commit."""
ENQUEUE_CPU = 32.8
"""µs a job: 30,490 a second in that run, in statements one after the other that waited for the processor alone."""
PAYMENTS: Mapping[str, PaymentsBefore] = {
    "tron": PaymentsBefore(rate=47.5, rate_of_two=44.3, single_p50=36.3, single_p99=75.2),
    "evm": PaymentsBefore(rate=47.5, rate_of_two=50.3, single_p50=39.5, single_p99=62.4),
}
"""Medians of seven rounds, two of two processes and four of single flags; on the day and the machine of
bench/results/2026-11-30.json."""


def _payments(chain: str) -> tuple[Bound, ...]:
    before, measure = PAYMENTS[chain], f"payments.{chain}"
    return (
        Bound(f"{measure}.rate", at_least=5.0, before=before.rate),
        Bound(f"{measure}.rate", at_least=5.0, before=before.rate_of_two, of=TWO),
        Bound(f"{measure}.broadcast.p99", at_most=3_000),
        Bound(f"{measure}.broadcast.p99", at_most=3_000, of=TWO),
        Bound(f"{measure}.postgres", at_most=1_500),
        Bound(f"{measure}.broadcast.p50", at_most=1.0, before=before.single_p50, of=ONE_AT_A_TIME),
        Bound(f"{measure}.broadcast.p99", at_most=1.0, before=before.single_p99, of=ONE_AT_A_TIME),
    )


AIMS = (
    Aim(
        1,
        "a flag is committed, a handler starts; idle system",
        (
            Bound("latency.from_call.p50", at_most=1.0, against=BEST),
            Bound("latency.from_call.p99", at_most=1.0, against=BEST),
        ),
    ),
    Aim(
        2,
        "jobs that do nothing, drained with all their bookkeeping by one process and by two",
        (
            Bound("drain.1.rate", at_least=1.0, against=BEST),
            Bound("drain.2.rate", at_least=1.0, against=BEST),
            Bound("drain.1.cpu", at_most=FASTER, before=DRAIN_CPU[1]),
            Bound("drain.2.cpu", at_most=FASTER, before=DRAIN_CPU[2]),
        ),
    ),
    Aim(
        3,
        "flagged wallets enqueued in bulk",
        (
            Bound("enqueue.cpu", at_most=FASTER, before=ENQUEUE_CPU),
            Bound("enqueue.rate", at_least=1.0, against="graphile-worker"),
        ),
    ),
    Aim(
        4,
        "balances read from a local EVM node and stored, by one sync; what one costs that did not change",
        (
            Bound("evm.sync.next_door", at_least=25_000),
            Bound("evm.sync.next_door", at_least=100, against="one by one"),
            Bound("evm.sync.20_ms_away", at_least=100, against="one by one"),
            Bound("evm.sync.unchanged.server", at_most=10),
            Bound("evm.sync.unchanged.wal", at_most=100),
        ),
    ),
    Aim(
        6,
        "1,000,000 wallets and 10,000,000 finished jobs, then also an old transaction",
        (
            *(Bound(f"size.{name}", at_most=1.3, against=EMPTY) for name in (*SIZED, "latency.p50")),
            Bound("size.counts", at_most=10),
            Bound("size.history", at_most=5),
            *(Bound(f"held.{name}", at_most=2.0, against=EMPTY) for name in (*SIZED, "latency.p50")),
        ),
    ),
    Aim(
        7,
        "gas top-ups in a block of one second, from one sender",
        (
            Bound("evm.topups", at_least=200),
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
    Aim(
        13,
        "1,000 flags at once, paid on the chain by one process of each kind and by two; a single flag",
        (*_payments("tron"), *_payments("evm")),
    ),
)
"""9 and 10 are in docs/reliability.md. 5 is how the sync is made: between two reads of a balance, which `sync_interval`
sets, only blocks are asked for."""
