"""A run: every blow at its time, then calm, then everything has to settle, then the judge."""

import asyncio
import contextlib
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from loguru import logger

from pipeline.devnet.client import DevnetError
from tests.chains.evm.anvil import AnvilError
from tests.chaos.blows import CREW, Blow, Kind
from tests.chaos.crew import Post
from tests.chaos.hosts import WORKERS
from tests.chaos.invariants import Verdict, judge_chain, judge_queue
from tests.chaos.rest import at_rest
from tests.chaos.schedule import Schedule
from tests.chaos.stage import Stage, stage

SETTLED_WITHIN = 120.0
"""Seconds from the last blow until all is done. Some waits cannot be shortened: a leader that is frozen or cut
off is given up after 30 s, a node that lied is left alone for as long."""
LOOK_SECONDS = 0.5
NUDGE_SECONDS = 4.0
"""Between two rounds of what an operator and the clock do for what waits."""
DEPOSIT = 250
"""Tokens to every wallet right before the first blow, and right after the last one, so that all of them are due once
more whatever was done to their flags."""

Strike = Callable[[Stage, Mapping[str, Any]], Awaitable[Any]]


@dataclass(eq=False)
class Outcome:
    """What a run was like."""

    schedule: Schedule
    struck: Counter[str] = field(default_factory=Counter)
    """Blows that hit, by label."""
    missed: Counter[str] = field(default_factory=Counter)
    """Blows that found nothing to hit."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """All that is wrong; empty: the run has passed."""
    settled_seconds: float = 0.0
    seconds: float = 0.0
    orphaned: list[float] = field(default_factory=list)
    orphaned_in_calm: list[float] = field(default_factory=list)
    deposits: int = 0
    ends: int = 0
    """Lives of processes that ended."""

    def count(self, of: str) -> int:
        """``payments``, or how many ``doubles``, ``losses``, ``wrongs``."""
        found = [getattr(verdict, of) for verdict in self.verdicts.values()]
        return sum(one if isinstance(one, int) else len(one) for one in found)


class Storm:
    """Lets a schedule loose on a stage."""

    def __init__(self, stage: Stage, outcome: Outcome) -> None:
        self.stage = stage
        self.outcome = outcome
        self._rules: list[tuple[str, int | None, Any]] = []
        """Of nodes: label, count before, rule. They count as hits when a call met them."""

    async def begin(self) -> None:
        """Everybody is there, and there is something to do."""
        on = self.stage
        await on.man(CREW)
        await self._deposit_everywhere()

    async def rage(self) -> None:
        """Every blow at its time. Blows that last do not hold up the next ones."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as blows:
            for blow in self.stage.schedule.blows:
                await asyncio.sleep(max(0.0, begun + blow.at - time.monotonic()))
                blows.create_task(self._strike(blow))
            await asyncio.sleep(max(0.0, begun + self.stage.schedule.seconds - time.monotonic()))

    async def calm(self) -> None:
        """Nothing is wrong any more but what has been done."""
        on = self.stage
        if on.hosts is not None:
            for host in WORKERS:
                on.hosts.heal(host)
        for ground in on.grounds.values():
            await ground.calm()
        on.crew.calm()
        await on.operator.calm()
        self._count_rules()
        on.watch.calm()
        await self._deposit_everywhere()

    async def settle(self) -> bool:
        """Wait until nothing moves any more; False if it never came to rest."""
        begun = time.monotonic()
        nudge = begun + NUDGE_SECONDS
        while time.monotonic() < begun + SETTLED_WITHIN:
            if await at_rest(self.stage.database.eyes, self.stage.grounds):
                self.outcome.settled_seconds = time.monotonic() - begun
                return True
            if time.monotonic() > nudge:
                nudge = time.monotonic() + NUDGE_SECONDS
                await self.stage.operator.run_now()
                for ground in self.stage.grounds.values():
                    await ground.let_time_pass()
            await asyncio.sleep(LOOK_SECONDS)
        self.outcome.settled_seconds = time.monotonic() - begun
        return False

    async def judge(self) -> None:
        """The chains have the first word, the database the second, the processes the last."""
        on, outcome = self.stage, self.outcome
        for name, ground in on.grounds.items():
            outcome.verdicts[name] = await judge_chain(ground, on.database.psql)
        outcome.verdicts["queue"] = await judge_queue(on.database.psql)
        for name, verdict in outcome.verdicts.items():
            outcome.problems += [f"{name}: {problem}" for problem in verdict.problems]
        if on.watch.ownerless:
            outcome.problems.append(f"{on.watch.ownerless} jobs are active and nobody holds them")

    async def _deposit_everywhere(self) -> None:
        for ground in self.stage.grounds.values():
            for number in range(len(ground.wallets)):
                await ground.deposit(number, DEPOSIT)
                self.outcome.deposits += 1

    async def _strike(self, blow: Blow) -> None:
        logger.debug("{}", blow)
        try:
            hit = await _STRIKES[blow.kind](self.stage, blow.arguments)
        except (psycopg.Error, DevnetError, AnvilError, TimeoutError) as error:
            logger.debug("{}: {}", blow.label, error)
            hit = False
        if blow.kind in (Kind.TRON_NODE, Kind.EVM_NODE):
            self._rules.append((blow.label, getattr(hit, "left", None), hit))
        elif blow.kind is Kind.DEPOSIT:
            self.outcome.deposits += len(self.stage.grounds)
        elif blow.kind is Kind.CRASH:  # counted once it gets to its point
            self.outcome.struck[Kind.KILL] += bool(hit)
        else:
            # None is what a blow returns that cannot miss.
            (self.outcome.missed if hit in (False, 0) else self.outcome.struck)[blow.label] += 1

    def _count_rules(self) -> None:
        for label, before, rule in self._rules:
            met = rule.hits > 0 if before is None else rule.left != before
            (self.outcome.struck if met else self.outcome.missed)[label] += 1
        self.outcome.struck[Kind.CRASH] += self.stage.crew.crashes


def _post(on: Stage, arguments: Mapping[str, Any]) -> Post:
    return on.crew.find(arguments["process"], arguments["number"])


async def _kill(on: Stage, a: Mapping[str, Any]) -> bool:
    return on.crew.kill(_post(on, a), then=a.get("point") and f"{a['point']}:{a['passes']}")


async def _half_open(on: Stage, a: Mapping[str, Any]) -> int:
    assert on.proxy is not None
    return on.proxy.silence(lambda name: name.endswith("listener"))


async def _stall(on: Stage, a: Mapping[str, Any]) -> int:
    assert on.proxy is not None
    return on.proxy.silence(lambda name: True)


async def _pooler(on: Stage, a: Mapping[str, Any]) -> bool:
    assert on.pooler is not None
    return await on.pooler.restart(a["seconds"])


async def _cut(on: Stage, a: Mapping[str, Any]) -> None:
    assert on.hosts is not None
    on.hosts.cut(a["host"])
    await asyncio.sleep(a["seconds"])
    on.hosts.heal(a["host"])


async def _slow(on: Stage, a: Mapping[str, Any]) -> bool:
    assert on.hosts is not None
    if not on.hosts.slow(a["host"]):
        return False
    await asyncio.sleep(a["seconds"])
    on.hosts.heal(a["host"])
    return True


async def _pause_worker(on: Stage, a: Mapping[str, Any]) -> bool:
    process = _post(on, a).process
    if process is None:
        return False
    await on.operator.pause_worker(process.pid, a["seconds"])
    return True


async def _deposit(on: Stage, a: Mapping[str, Any]) -> None:
    for ground in on.grounds.values():
        await ground.deposit(a["wallet"], a["tokens"])


async def _at_once(result: Any) -> Any:
    return result


_STRIKES: Mapping[Kind, Strike] = {
    Kind.KILL: _kill,
    Kind.CRASH: _kill,
    Kind.FREEZE: lambda on, a: on.crew.freeze(_post(on, a), a["seconds"]),
    Kind.TERM: lambda on, a: on.crew.terminate(_post(on, a)),
    Kind.TERM_TWICE: lambda on, a: on.crew.terminate(_post(on, a), twice=True),
    Kind.RESTART: lambda on, a: on.database.restart(a["seconds"]),
    Kind.BACKEND_CRASH: lambda on, a: on.database.crash_backend(),
    Kind.TERMINATE: lambda on, a: on.database.terminate(a["like"], a["share"]),
    Kind.LEADERS: lambda on, a: on.database.end_leases(),
    Kind.CANCEL: lambda on, a: on.database.cancel(a["like"], a["share"]),
    Kind.FULL: lambda on, a: on.database.fill_up(a["seconds"]),
    Kind.LOCK: lambda on, a: on.database.lock(a["table"], a["seconds"]),
    Kind.HALF_OPEN: _half_open,
    Kind.STALL: _stall,
    Kind.POOLER: _pooler,
    Kind.CUT: _cut,
    Kind.SLOW: _slow,
    Kind.TRON_NODE: lambda on, a: _at_once(on.tron.spoil(a)),
    Kind.TRON_AWAY: lambda on, a: on.tron.away(a["seconds"]),
    Kind.TRON_STALE: lambda on, a: on.tron.stale(a["seconds"]),
    Kind.TRON_FORK: lambda on, a: _at_once(on.tron.fork(a["depth"], drop=a["drop"])),
    Kind.TRON_DROP: lambda on, a: on.tron.drop(),
    Kind.TRON_CLOCK: lambda on, a: on.tron.stand_still(a["seconds"]),
    Kind.EVM_NODE: lambda on, a: _at_once(on.evm.spoil(a)),
    Kind.EVM_AWAY: lambda on, a: on.evm.away(a["seconds"]),
    Kind.EVM_FORK: lambda on, a: on.evm.fork(drop=a["drop"]),
    Kind.EVM_DROP: lambda on, a: on.evm.drop(),
    Kind.EVM_CLOCK: lambda on, a: on.evm.stand_still(a["seconds"]),
    Kind.EVM_EXPENSIVE: lambda on, a: on.evm.dear(a["seconds"]),
    Kind.FLIP: lambda on, a: on.operator.flip(a["wallets"], a["flag"], a["to"]),
    Kind.RETRY: lambda on, a: on.operator.retry(),
    Kind.CANCEL_JOB: lambda on, a: on.operator.cancel(),
    Kind.CLEANUP: lambda on, a: on.operator.clean_up(a["minutes"]),
    Kind.BY_HAND: lambda on, a: on.operator.insert(a["job_type"], a["wallet"]),
    Kind.PAUSE: lambda on, a: on.operator.pause(a["seconds"]),
    Kind.PAUSE_WORKER: _pause_worker,
    Kind.FORGET_WORKER: lambda on, a: on.operator.forget_workers(a["share"]),
    Kind.UNLOCK: lambda on, a: on.operator.unlock(),
    Kind.SWITCH_CHAIN: lambda on, a: on.operator.switch_chain(
        "bsc" if a["evm"] and "bsc" in on.grounds else "tron", a["seconds"]
    ),
    Kind.DEPOSIT: _deposit,
}


async def run(schedule: Schedule, log: Path) -> Outcome:
    """One run from nothing to its verdict. ``log``: where the processes write. What breaks a run off is a problem of
    its own, and ends no campaign."""
    outcome = Outcome(schedule)
    begun = time.monotonic()
    try:
        async with stage(schedule, log) as on:
            await _play(on, outcome)
    except Exception as error:
        logger.opt(exception=error).debug("seed {} broke off", schedule.seed)
        outcome.problems.append(f"the run broke off: {''.join(traceback.format_exception(error)).strip()}")
    outcome.seconds = time.monotonic() - begun
    return outcome


async def _play(on: Stage, outcome: Outcome) -> None:
    """From the first process to the last, which has to end as it should."""
    storm = Storm(on, outcome)
    await storm.begin()
    await storm.rage()
    await storm.calm()
    if not await storm.settle():
        outcome.problems.append(f"not settled {SETTLED_WITHIN:g} s after the last blow")
    with contextlib.suppress(TimeoutError):
        for ground in on.grounds.values():
            await ground.finalize()
    await storm.judge()
    await on.crew.end()
    outcome.problems += on.crew.problems
    outcome.orphaned, outcome.orphaned_in_calm = on.watch.orphaned, on.watch.orphaned_in_calm
    outcome.ends = sum(on.crew.restarts.values())
