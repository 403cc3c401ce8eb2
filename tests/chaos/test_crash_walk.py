"""Every named crash point, each with every way a node can misbehave: exactly one payment of each kind, on the chain.

By default each point is walked with a sixth of the faults, the next point with another; FLAGPOST_CHAOS=full takes the
whole product. Trials mostly wait for blocks, so those of all selected tests run side by side.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.devnet.faults import FaultKind
from pipeline.payments.crashpoints import NONCES_ONLY, CrashPoint
from tests.chaos.fleet import Zygote
from tests.chaos.trial import Fault, Plan, Trial, run_trial
from tests.chaos.world import LIFETIME_SECONDS
from tests.conftest import temporary_home
from tests.seed import USDT

AT_ONCE = 10
FULL = os.environ.get("FLAGPOST_CHAOS") == "full"

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULTS: dict[str, list[Fault]] = {
    "none": [],
    "reply lost": [Fault(FaultKind.LOST_REPLY)],
    "request lost": [Fault(FaultKind.LOST_REQUEST)],
    "reply late": [Fault(FaultKind.LATE_REPLY, seconds=0.5)],
    "request late": [Fault(FaultKind.LATE_REQUEST, seconds=0.5)],
    "duplicated": [Fault(FaultKind.DUPLICATED)],
    "false txid": [Fault(FaultKind.FALSE_TXID)],
    "swallowed": [Fault(FaultKind.SWALLOWED)],
    "server busy": [Fault(FaultKind.SERVER_BUSY)],
    "429": [Fault(FaultKind.TOO_MANY)],
    "503": [Fault(FaultKind.SUSPENDED, seconds=0.3)],
    "403": [Fault(FaultKind.BANNED, seconds=0.3)],
    "html": [Fault(FaultKind.HTML, status=502)],
}


def sender(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """Both senders die once at the point."""
    return Plan(name, {"gas-topup": [point], "consolidation": [point]}, faults, crashes=2)


def include(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """The confirmation worker dies over the first block, on which no other follows until it has."""

    async def one_block(trial: Trial) -> None:
        confirmations = trial.processes["confirmations"]
        await trial.until_pooled()
        await trial.world.devnet.mine()
        await asyncio.shield(confirmations.status)
        await trial.world.devnet.resume()

    return Plan(name, {"confirmations": [point]}, faults, one_block, crashes=1, standing=True)


def settle(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """It dies twice: over the top-up, and over the consolidation or the same top-up again."""
    return Plan(name, {"confirmations": [point, point]}, faults, crashes=2)


def rebroadcast(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """The first send reaches nobody, the second meets the fault."""
    nobody = Fault(FaultKind.LOST_REQUEST, count=1)
    return Plan(name, {"confirmations": [point]}, [nobody, *faults], crashes=1)


def reorg(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """The block that holds the top-up is forked away, and its transaction with it."""

    async def fork(trial: Trial) -> None:
        devnet = trial.world.devnet
        await trial.until_pooled()
        await devnet.mine()
        await trial.until("SELECT FROM chain_transactions WHERE state = 'included'")
        await devnet.fork(1, drop=True)
        await devnet.forget_txids()
        await devnet.resume()

    return Plan(name, {"confirmations": [point]}, faults, fork, crashes=1, standing=True)


def death(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """The network swallows every send until the transaction has expired; the next one meets the fault."""

    async def die(trial: Trial) -> None:
        await trial.until("SELECT FROM chain_transactions WHERE last_result IS NOT NULL")
        await trial.world.devnet.advance(LIFETIME_SECONDS + 20)
        await trial.until("SELECT FROM chain_transactions WHERE state = 'expired'")
        await trial.world.devnet.clear_faults()
        await trial.spoil(*faults)

    swallowed = Fault(FaultKind.SWALLOWED, count=None)
    return Plan(name, {"confirmations": [point]}, [swallowed], die, crashes=1)


def refused(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """Both senders die between the commits, and what they asked for is too dear for the signer when they are back: it
    is never signed, and they die over that, too."""

    async def tighten_and_loosen(kind: str, trial: Trial) -> None:
        trial.restrict(fee_max=1 if trial.turn(kind) == 1 else None)

    arms = [CrashPoint.REQUEST_AFTER, point]
    kinds = ("gas-topup", "consolidation")
    before = {kind: partial(tighten_and_loosen, kind) for kind in kinds}
    return Plan(name, dict.fromkeys(kinds, arms), faults, before_restart=before, crashes=4)


def decided_anew(name: str, point: CrashPoint, faults: list[Fault]) -> Plan:
    """An intent is written and refused its signature, and a second deposit makes it the wrong amount."""

    async def another_deposit(trial: Trial) -> None:
        turn = trial.turn("consolidation")
        # Three deaths are all that a job is usually given.
        await trial.world.rows("UPDATE job_logs SET max_retries = 9 WHERE status = 'active' RETURNING id")
        trial.restrict(fee_max=1 if turn == 1 else None)
        if turn == 2:
            trial.due += 50 * USDT
            await trial.world.devnet.send_token(trial.world.token, trial.wallet.address, 50 * USDT)
            await trial.world.devnet.solidify()
        if turn == 3:
            await trial.world.devnet.advance(LIFETIME_SECONDS + 20)

    arms = {"consolidation": [CrashPoint.REQUEST_AFTER, CrashPoint.REFUSE_AFTER, point]}
    return Plan(name, arms, faults, before_restart={"consolidation": another_deposit}, crashes=3)


POINTS = [point for point in CrashPoint if point not in NONCES_ONLY]
SCENARIOS = {
    "job": sender,
    "request": sender,
    "sign": sender,
    "broadcast": sender,
    "send": sender,
    "reply": sender,
    "include": include,
    "settle": settle,
    "rebroadcast": rebroadcast,
    "reorg": reorg,
    "expire": death,
    "refuse": refused,
    "reject": decided_anew,
}
"""By the first part of a crash point's name."""


def plans(point: CrashPoint) -> list[Plan]:
    """The trials of one crash point."""
    scenario = SCENARIOS[point.partition(".")[0]]
    named = [scenario(f"{point} {name}", point, faults) for name, faults in FAULTS.items()]
    return named if FULL else named[POINTS.index(point) % 6 :: 6]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trials(
    request: pytest.FixtureRequest, server_dsn: str, template: str
) -> AsyncIterator[Mapping[CrashPoint, list[asyncio.Task[None]]]]:
    """The trials of all selected tests, under way."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(plan: Plan, zygote: Zygote, directory: Path) -> None:
        async with slots:
            await run_trial(plan, server_dsn, template, zygote, directory)

    selected = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    ]
    with temporary_home() as directory:
        async with Zygote() as zygote:
            under_way = {
                one["point"]: [asyncio.create_task(run(plan, zygote, directory)) for plan in plans(one["point"])]
                for one in selected
            }
            yield under_way
            tasks = [task for tasks in under_way.values() for task in tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("point", POINTS)
async def test_crash_point(point: CrashPoint, trials: Mapping[CrashPoint, list[asyncio.Task[None]]]) -> None:
    results = await asyncio.gather(*trials[point], return_exceptions=True)
    problems = [result for result in results if isinstance(result, Exception)]
    if problems:
        raise ExceptionGroup(f"{len(problems)} of {len(results)} trials", problems)
