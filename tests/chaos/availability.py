"""``python -m tests.chaos.availability`` (``make availability``): how often a flag is served in time, under faults.

A crew of real processes, on two hosts where namespaces can be made, meets random faults; moves of operators, who may
pause everything, are left out. Meanwhile a flag rises every second on a wallet that has no other job. What counts is
the time from the first attempt to raise it, so that a database that is away counts, until a worker has taken its job,
by the database's own clock. Kept as JSON beside the runs, for docs/reliability.md.
"""

import argparse
import asyncio
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from loguru import logger

from pipeline.chains.values import Family
from pipeline.signing.keyring import Keyring
from tests.chaos.psql import Psql
from tests.chaos.run import available
from tests.chaos.schedule import Layout, Schedule, draw
from tests.chaos.stage import Stage, stage
from tests.chaos.storm import Outcome, Storm
from tests.chaos.summary import ROOT, commit, faults, save
from tests.chaos.world import MNEMONIC
from tests.conftest import pytest_configure
from tests.seed import TRX

AVAILABILITY = ROOT / ".chaos" / "availability"
PROMISED_SECONDS = 30.0
PROMISED_SHARE = 0.999
EVERY_SECONDS = 1.0
GIVEN_UP_SECONDS = 90.0
"""A flag that nobody has taken by then was not served."""
LOOK_SECONDS = 0.25
BLOWS_PER_SECOND = 1.0
WALLETS = 120
FIRST_INDEX = 5_000
COINS = 50 * TRX
"""A wallet that has them needs no gas, so that its job ends by itself."""

RAISE = """
UPDATE wallets w SET needs_gas = true
WHERE w.id = (
    SELECT c.id FROM wallets c
    WHERE c.id = ANY (%s) AND NOT c.needs_gas
      AND NOT EXISTS (SELECT FROM job_logs j WHERE j.wallet_id = c.id AND j.status IN ('pending', 'active', 'retrying'))
    ORDER BY random() LIMIT 1)
RETURNING w.id
"""
TAKEN = """
SELECT min(t.at) AS at FROM job_trail t JOIN job_logs j ON j.id = t.job
WHERE j.wallet_id = %s AND j.job_type = 'gas-topup' AND t.status = 'active' AND t.at > %s
"""


@dataclass(eq=False)
class Probe:
    """Flags that rise one after the other, and how long each waited."""

    on: Stage
    waits: list[float] = field(default_factory=list)
    """Seconds; ``GIVEN_UP_SECONDS`` where nobody took the job."""
    _free: set[UUID] = field(default_factory=set)

    async def prepare(self) -> None:
        """Wallets of its own, which no blow is aimed at."""
        keys, tron = Keyring(MNEMONIC), self.on.tron
        for index in range(FIRST_INDEX, FIRST_INDEX + WALLETS):
            address = keys.address(Family.TRON, index)
            await tron.devnet.faucet(address, COINS)
            (row,) = await self.on.database.psql.ask(
                "INSERT INTO wallets (chain_id, address, derivation_index) VALUES (%s, %s, %s) RETURNING id",
                *(tron.chain_id, address, index),
            )
            self._free.add(row["id"])
        await tron.finalize()

    async def beat(self, seconds: float) -> None:
        """One flag a second for so long; returns once each of them was taken or given up."""
        dsn = self.on.database.dsn
        async with Psql(dsn) as raising, Psql(dsn) as seeing, asyncio.TaskGroup() as flags:
            begun = asyncio.get_running_loop().time()
            for number in range(math.ceil(seconds / EVERY_SECONDS)):
                await asyncio.sleep(max(0.0, begun + number * EVERY_SECONDS - asyncio.get_running_loop().time()))
                flags.create_task(self._one(raising, seeing))

    async def _one(self, raising: Psql, seeing: Psql) -> None:
        first = datetime.now(UTC)
        wallet: UUID | None = None
        try:
            async with asyncio.timeout(GIVEN_UP_SECONDS):
                while wallet is None:
                    rows = await _patiently(raising, RAISE, list(self._free))
                    wallet = rows[0]["id"] if rows else None
                self._free.discard(wallet)
                while (at := (await _patiently(seeing, TAKEN, wallet, first))[0]["at"]) is None:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
            self.waits.append(max(0.0, (at - first).total_seconds()))
        except TimeoutError:
            self.waits.append(GIVEN_UP_SECONDS)
        finally:
            if wallet is not None:
                self._free.add(wallet)


async def _patiently(psql: Psql, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """However long the server stays away: the caller's time runs."""
    while True:
        try:
            return await psql.ask(query, *parameters)
        except TimeoutError:
            logger.debug("the server stays away")


def schedule_of(seed: int, layouts: Sequence[Layout], *, evm: bool, seconds: float, rate: float) -> Schedule:
    """Faults only, on two hosts where there can be."""
    layout = Layout.HOSTS if Layout.HOSTS in layouts else Layout.PROXIED
    drawn = draw(seed, [layout], evm=evm, seconds=seconds, rate=rate)
    return replace(drawn.only(blow for blow in drawn.blows if not blow.kind.is_operator), lazy_commits=False)


async def measure(schedule: Schedule, log: Path) -> dict[str, Any]:
    """One run; its figures."""
    outcome = Outcome(schedule)
    async with stage(schedule, log) as on:
        storm, probe = Storm(on, outcome), Probe(on)
        await probe.prepare()
        await storm.begin()
        async with asyncio.TaskGroup() as both:
            both.create_task(storm.rage())
            both.create_task(probe.beat(schedule.seconds))
        await storm.calm()
        if not await storm.settle():
            outcome.problems.append("it did not settle")
        for ground in on.grounds.values():
            await ground.finalize()
        await storm.judge()
        await on.crew.end()
        outcome.problems += on.crew.problems
        outcome.ends = sum(on.crew.restarts.values())
    return figures(outcome, probe.waits)


def figures(outcome: Outcome, waits: Sequence[float]) -> dict[str, Any]:
    """What is kept. ``waits`` in seconds."""
    ordered = sorted(waits)
    in_time = sum(wait <= PROMISED_SECONDS for wait in ordered)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": outcome.schedule.seed,
        "layout": str(outcome.schedule.layout),
        "minutes": round(outcome.schedule.seconds / 60, 1),
        "faults": faults(outcome.struck),
        "ends": outcome.ends,
        "flags": len(ordered),
        "in_time": in_time,
        "share": round(in_time / len(ordered), 6),
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[math.ceil(len(ordered) * 0.99) - 1], 2),
        "late": [round(wait, 1) for wait in ordered[in_time:]],
        "doubles": outcome.count("doubles"),
        "losses": outcome.count("losses"),
        "problems": outcome.problems,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.availability", description="How often a flag is served in time, under faults"
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="of the faults (default: drawn)")
    parser.add_argument("--rate", type=float, default=BLOWS_PER_SECOND, help="blows per second")
    arguments = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    pytest_configure()
    layouts, evm, lacking = available()
    sys.stdout.writelines(f"{line}\n" for line in lacking)
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    options = {"evm": evm, "seconds": arguments.minutes * 60, "rate": arguments.rate}
    with tempfile.TemporaryDirectory(prefix="flagpost-availability-") as directory:
        made = asyncio.run(measure(schedule_of(seed, layouts, **options), Path(directory) / "processes.log"))
    save(made, AVAILABILITY)
    sys.stdout.write(
        "seed {seed}: {in_time} of {flags} flags were taken within 30 s, {share:.3%}; median {median} s, 99 % within "
        "{p99} s; {doubles} doubles, {losses} losses, {ends} processes ended\n".format(**made)
    )
    sys.stdout.writelines(f"PROBLEM {problem}\n" for problem in made["problems"])
    return 1 if made["problems"] or made["share"] < PROMISED_SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
