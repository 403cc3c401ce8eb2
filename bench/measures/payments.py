"""Payments through the whole pipeline: flags are raised, the payments are final on the chain, the jobs are done.

On the simulated TRON network and on anvil (as BSC), by real processes at the settings that are shipped: one of each
that pays (gas-topup, consolidation, confirmations), then two. Half of the flags call for gas, half for a consolidation:

    1,000 flags at once         how many are paid a second, from the first flag to the last job that is completed
    50 a second                 each its own commit
    one at a time               the next one when all is quiet
    a node 20 ms away           every call takes so much longer
    15 requests a second        what the node answers; above it, HTTP 429, as public nodes say

Flag → broadcast is from the start of the UPDATE to ``chain_transactions.first_broadcast_at``; ``broadcast.last`` is
from the last flag until the last broadcast reached the node. At the end the chain must have paid what was flagged,
once, and nothing else. Blocks come every 0.25 s, so that waiting for them is little of it (where requests are limited,
every second: on a faster chain the questions about blocks alone would fill the rate).
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from uuid import UUID

from bench.bench import Bench, Incomplete
from bench.contestants import OURS
from bench.installation import ASK_EVERY, Installation, Paid, Used, Wallet, installed
from bench.pacing import paced_async
from bench.result import Result
from pipeline.local.networks import playable

PATIENCE = 240.0
"""For all flags of one case."""
WARM_UP = 4
"""Flags after each start that do not count."""
BLOCK_TIME = 0.25
SLOW_BLOCK_TIME = 1.0
CHAINS = {"tron": "tron", "bsc": "evm"}
"""The chains of an installation, and what their figures are called by."""


@dataclass(frozen=True)
class Case:
    """One way to raise flags, and the circumstances."""

    name: str
    flags: int
    fewest: int
    """Flags, in the short run; 0: it is left out."""
    processes: int = 1
    per_second: float | None = None
    """None: all at once."""
    one_at_a_time: bool = False
    delay: float = 0.0
    """Of the node, seconds."""
    node_rate: int | None = None
    """Requests a second that the node answers."""
    block_time: float = BLOCK_TIME


CASES = (
    Case(OURS, 1_000, 20),
    Case("50 a second", 500, 0, per_second=50),
    Case("one at a time", 40, 2, one_at_a_time=True),
    Case("a node 20 ms away", 500, 0, delay=0.02),
    Case("two processes", 1_000, 0, processes=2),
    Case("two processes, 50 a second", 500, 0, processes=2, per_second=50),
    Case("15 requests a second", 60, 0, node_rate=15, block_time=SLOW_BLOCK_TIME),
)
UNITS = {
    "rate": "payments/s",
    "broadcast.p50": "ms",
    "broadcast.p99": "ms",
    "gas.p99": "ms",
    "consolidation.p99": "ms",
    "broadcast.last": "ms",
    "postgres": "µs/payment",
    "payers": "µs/payment",
    "node": "µs/payment",
    "calls": "calls/payment",
    "requests": "requests/payment",
    "refused": "requests/payment",
}


class TooSlow(Incomplete):
    """Something was left to do when the time was up; nothing is wrong."""


@dataclass(frozen=True)
class Figures:
    """Of one case."""

    values: Mapping[str, float]
    calls: Mapping[str, float]
    """A payment, by method."""


async def measure(bench: Bench) -> list[Result]:
    """``payments.tron.*`` and ``payments.evm.*``; ours is one process of each kind and all flags at once."""
    if unknown := set(bench.cases) - {case.name for case in CASES}:
        raise ValueError(f"payments has no case {sorted(unknown)}; it has {[case.name for case in CASES]}")
    chains = [chain for chain in CHAINS if chain in playable()]
    for chain in CHAINS.keys() - set(chains):
        bench.left_out[f"payments.{CHAINS[chain]}"] = "its node is missing (anvil of tests/clients)"
    cases = [case for case in CASES if flags(bench, case) and (not bench.cases or case.name in bench.cases)]
    by_block_time = [(seconds, list(some)) for seconds, some in groupby(cases, lambda case: case.block_time)]
    bench.expect(len(chains) * (len(cases) + len(by_block_time)))
    found: list[Result] = []
    for chain in chains:
        figures: dict[str, Figures] = {}
        for block_time, some in by_block_time:
            figures |= await on_chain(bench, chain, block_time, some)
        found += results(chain, figures, {case.name: flags(bench, case) for case in cases})
    return found


def flags(bench: Bench, case: Case) -> int:
    """How many are raised; as many of one kind as of the other."""
    return bench.size(case.flags, case.fewest)


async def on_chain(bench: Bench, chain: str, block_time: float, cases: Sequence[Case]) -> dict[str, Figures]:
    """Each case, one after the other on one installation."""
    found: dict[str, Figures] = {}
    wallets = sum(flags(bench, case) for case in cases) + WARM_UP * len(cases)
    with tempfile.TemporaryDirectory(prefix="flagpost-bench-") as home:
        async with installed(Path(home), bench.server, chain, wallets, block_time) as place:
            bench.advance(f"payments: {wallets} wallets on {chain}")
            running = 0
            for case in cases:
                if case.processes != running:
                    await place.start(running := case.processes)
                    await raised(place, Case("warm up", WARM_UP, WARM_UP), place.take(WARM_UP))
                try:
                    found[case.name] = await one_case(place, case, place.take(flags(bench, case)))
                except TooSlow as error:
                    bench.left_out[f"payments.{CHAINS[chain]}, {case.name}"] = str(error)
                    break
                bench.advance(f"payments: {chain}, {'all at once' if case.name == OURS else case.name}")
            await place.check(whole=len(found) == len(cases))
    return found


async def one_case(place: Installation, case: Case, wallets: Sequence[Wallet]) -> Figures:
    """Raise the flags, wait until all is done, and read what it took."""
    await place.node(case.delay, case.node_rate)
    before, _ = place.used(), await place.node_calls()
    flagged = await raised(place, case, wallets)
    after = place.used()
    asked = await place.node_calls()
    payments = await place.payments(flagged)
    first, count = min(flagged.values()), len(payments)
    values = {
        "rate": count / (max(one.completed for one in payments) - first),
        **waits(payments),
        "broadcast.last": (asked["last_broadcast"] - max(flagged.values())) * 1e3,
        **cpu(before, after, count),
        "calls": sum(asked["calls"].values()) / count,
        "requests": asked["requests"] / count,
        "refused": asked["refused"] / count,
    }
    most = Counter(asked["calls"]).most_common()
    return Figures(values, {method: round(calls / count, 3) for method, calls in most})


async def raised(place: Installation, case: Case, wallets: Sequence[Wallet]) -> dict[UUID, float]:
    """Raise each flag as the case has it; when that was, by wallet, once all are paid. Raises TooSlow."""
    flagged: dict[UUID, float] = {}

    async def raise_one(number: int) -> None:
        wallet = wallets[number - 1]
        flagged[wallet.id] = await place.flag([wallet])
        if case.one_at_a_time:
            await done(place, [wallet])

    if case.one_at_a_time:
        for number in range(1, len(wallets) + 1):
            await raise_one(number)
    elif case.per_second is not None:
        await paced_async(len(wallets), case.per_second, raise_one)
    else:
        now = await place.flag(wallets)
        flagged = {wallet.id: now for wallet in wallets}
    await done(place, wallets)
    return flagged


async def done(place: Installation, wallets: Sequence[Wallet]) -> None:
    """Wait until nothing is left to do for these wallets. Raises TooSlow."""
    deadline = time.monotonic() + PATIENCE
    while left := await place.unpaid(wallets):
        if time.monotonic() > deadline:
            raise TooSlow(f"{left} of {len(wallets)} flags were not paid within {PATIENCE:g} s")
        await asyncio.sleep(ASK_EVERY)


def waits(payments: Sequence[Paid]) -> dict[str, float]:
    """From flag to broadcast, in ms."""
    by_kind = {
        kind: sorted((one.broadcast - one.flagged) * 1e3 for one in payments if kind in ("", one.kind))
        for kind in ("", "gas", "consolidation")
    }
    return {
        "broadcast.p50": share(by_kind[""], 0.50),
        "broadcast.p99": share(by_kind[""], 0.99),
        "gas.p99": share(by_kind["gas"], 0.99),
        "consolidation.p99": share(by_kind["consolidation"], 0.99),
    }


def share(ordered: Sequence[float], part: float) -> float:
    """The figure that so large a part of them is below."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def cpu(before: Used, after: Used, payments: int) -> dict[str, float]:
    """Microseconds a payment."""
    return {
        name: (getattr(after, name) - getattr(before, name)) / payments * 1e6 for name in ("postgres", "payers", "node")
    }


def results(chain: str, figures: Mapping[str, Figures], flags_raised: Mapping[str, int]) -> list[Result]:
    """A result for each figure, a contestant for each case."""
    settings = {"flags": dict(flags_raised), "calls": {name: dict(one.calls) for name, one in figures.items()}}
    return [
        Result(
            f"payments.{CHAINS[chain]}.{name}",
            unit,
            {case: [one.values[name]] for case, one in figures.items()},
            lower_is_better=name != "rate",
            settings=settings,
        )
        for name, unit in UNITS.items()
    ]
