"""``python -m tests.chaos.recovery`` (``make recovery``): how long until work goes on after a fault, measured.

Real processes with the clocks that an installation has by default; only where a sweep is measured its interval is
shorter, and said. What is timed is a flag that is raised right after the fault (or a job that the fault left behind)
until a worker has taken it, by the database's own clock. Kept as JSON beside the runs, for docs/reliability.md.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loguru import logger

from pipeline.payments.crashpoints import CrashPoint
from tests.chaos.hosts import unavailable
from tests.chaos.recovery_of_hosts import AIMS, measure_hosts
from tests.chaos.schedule import Layout, Schedule
from tests.chaos.stage import Stage, stage
from tests.chaos.summary import ROOT, commit
from tests.conftest import pytest_configure
from tests.patience import PATIENCE

RECOVERY = ROOT / ".chaos" / "recovery"
ROUNDS = 9
LOOK_SECONDS = 0.05
COINS = 50
"""TRX: a wallet that has them needs no gas, so that a job of it ends by itself."""
SWEEP_SECONDS = 10.0
KIND = "gas-topup"
LISTENER = f"flagpost {KIND} listener"

Once = Callable[["Bench"], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of fault."""

    name: str
    aim: str
    """In words, with its unit."""
    once: Once
    """Strike, and return the seconds until work went on."""
    layout: Layout = Layout.DIRECT
    crew: Mapping[str, int] = field(default_factory=lambda: {KIND: 2})
    configuration: Mapping[str, Any] = field(default_factory=dict)
    surroundings: Mapping[str, str] = field(default_factory=dict)


class Bench:
    """A stage and the one wallet whose flag is raised again and again."""

    def __init__(self, on: Stage) -> None:
        self.on = on
        self.wallet = on.tron.wallets[0]
        self._place = 0

    async def prepare(self) -> None:
        await self.on.tron.devnet.faucet(self.wallet.address, COINS * 10**6)
        await self.on.tron.finalize()

    async def flag(self) -> None:
        """Raise it, and forget the jobs before."""
        self._place = (await self._ask("SELECT coalesce(max(place), 0) AS place FROM job_trail"))["place"]
        await self.on.database.psql.ask("UPDATE wallets SET needs_gas = true WHERE id = %s", self.wallet.id)

    async def taken(self, times: int = 1) -> datetime:
        """When a worker took the flag's job, for the ``times``-th time."""
        query = "SELECT at FROM job_trail WHERE status = 'active' AND place > %s ORDER BY place"
        async with asyncio.timeout(PATIENCE):
            while len(rows := await self.on.database.eyes.ask(query, self._place)) < times:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        return datetime.fromisoformat(str(rows[times - 1]["at"]))

    async def at_rest(self) -> None:
        """The flag is down and no job is open."""
        await self._until(
            "SELECT NOT EXISTS (SELECT FROM wallets WHERE needs_gas) AND NOT EXISTS "
            "(SELECT FROM job_logs WHERE status IN ('pending', 'active', 'retrying')) AS yes"
        )

    async def listening_anew(self, since: datetime, sessions: int) -> None:
        """So many sessions of listeners have begun since."""
        await self._until(
            "SELECT count(*) >= %s AS yes FROM pg_stat_activity WHERE application_name = %s AND backend_start > %s",
            *(sessions, LISTENER, since),
        )

    async def _until(self, query: str, *parameters: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not (await self._ask(query, *parameters))["yes"]:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, query: str, *parameters: Any) -> dict[str, Any]:
        return await self.on.database.eyes.one(query, *parameters)


async def after_a_restart(bench: Bench) -> float:
    """From the moment the server takes connections again."""
    await bench.on.database.restart(0)
    begun = _now()
    await bench.flag()
    return (await bench.taken() - begun).total_seconds()


async def half_open(bench: Bench) -> float:
    """Both listeners' sessions are dead, and nobody was told."""
    assert bench.on.proxy is not None
    await bench.listening_anew(datetime.min.replace(tzinfo=UTC), 2)
    begun = _now()
    silenced = bench.on.proxy.silence(lambda name: name == LISTENER)
    assert silenced == 2, f"{silenced} listeners were there to be silenced"
    await bench.flag()
    taken = await bench.taken()
    await bench.listening_anew(begun, 2)
    return (taken - begun).total_seconds()


async def killed(bench: Bench) -> float:
    """One of two processes dies with the job in its hands; the other one takes it up."""
    crew, victim = bench.on.crew, bench.on.crew.posts[0]
    before = victim.lives
    crew.kill(victim, then=CrashPoint.JOB_TAKEN)
    async with asyncio.timeout(PATIENCE):
        while victim.lives == before:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
    armed = victim.process
    assert armed is not None
    while True:
        await bench.flag()
        await bench.taken()
        # Whichever came first has it. A process at its crash point is dead a moment later.
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(armed.status)
        except TimeoutError:
            await bench.at_rest()
            continue
        died = _now()
        return (await bench.taken(2) - died).total_seconds()


async def unheard(bench: Bench) -> float:
    """No listener hears a NOTIFY: timers only."""
    begun = _now()
    await bench.flag()
    return (await bench.taken() - begun).total_seconds()


MEASURES = (
    Measure("Postgres restarts at once (immediate): from its first connection", "≤ 2 s", after_a_restart),
    Measure("LISTEN sessions half-open, found by their ping", "≤ 15 s", half_open, layout=Layout.PROXIED),
    Measure("a worker is killed with a job in its hands", "≤ 20 s", killed),
    Measure(
        f"every NOTIFY lost: found by timers of {SWEEP_SECONDS:g} s (300 s by default)",
        f"≤ {SWEEP_SECONDS:g} s and the grace of 2 s",
        unheard,
        crew={KIND: 2, "sweep": 1},
        configuration={"sweep__interval_seconds": SWEEP_SECONDS},
        surroundings={"FLAGPOST_LOSSY_NOTIFY": "1"},
    ),
)


async def rounds_of(measure: Measure, rounds: int) -> list[float]:
    """Seconds, one a round, on a stage of its own."""
    nothing = Schedule(0, measure.layout, evm=False, lazy_commits=False, seconds=0, blows=())
    with tempfile.TemporaryDirectory(prefix="flagpost-recovery-") as directory:
        log = Path(directory) / "processes.log"
        async with stage(nothing, log, measure.configuration, measure.surroundings) as on:
            bench = Bench(on)
            await bench.prepare()
            await on.man(measure.crew)
            found = []
            for _ in range(rounds):
                found.append(await measure.once(bench))
                await bench.at_rest()
            return found


async def measure_all(rounds: int) -> list[dict[str, Any]]:
    results = [_result(measure.name, measure.aim, await rounds_of(measure, rounds)) for measure in MEASURES]
    if reason := unavailable():
        sys.stdout.write(f"Two hosts are left out: {reason}\n")
        return results
    of_hosts = await measure_hosts(rounds)
    return [*results, *(_result(name, AIMS[name], seconds) for name, seconds in of_hosts.items())]


def _result(name: str, aim: str, measured: Sequence[float]) -> dict[str, Any]:
    seconds = [round(one, 2) for one in measured]
    result = {
        "measure": name,
        "aim": aim,
        "median": round(statistics.median(seconds), 2),
        "min": min(seconds),
        "max": max(seconds),
        "rounds": seconds,
    }
    sys.stdout.write("{measure}: {median} s ({min}–{max}), aim {aim}\n".format(**result))
    sys.stdout.flush()
    return result


def save(results: list[dict[str, Any]]) -> Path:
    RECOVERY.mkdir(parents=True, exist_ok=True)
    at = _now()
    path = RECOVERY / f"{at:%Y%m%dT%H%M%S}.json"
    body = {"at": at.isoformat(timespec="seconds"), "commit": commit(), "results": results}
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description="How long recovery takes")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    pytest_configure()
    save(asyncio.run(measure_all(arguments.rounds)))


if __name__ == "__main__":
    main()
