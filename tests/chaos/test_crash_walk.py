"""Every named crash point, each with every way a node can misbehave: exactly one payment of each kind, on the chain.

By default each point is walked with a third of the faults, the next point with another third; FLAGPOST_CHAOS=full takes
the whole product.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.devnet.faults import FaultKind
from pipeline.transfers.crashpoints import CrashPoint
from tests.chaos.fleet import Zygote
from tests.chaos.trial import Fault, Plan, Scenario, Trial, run_trial
from tests.chaos.world import LIFETIME_SECONDS

Walk = Callable[[list[Plan]], Awaitable[None]]

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 13
"""Trials side by side: they mostly wait for blocks."""
FAULTS: dict[str, Fault | None] = {
    "none": None,
    "reply lost": Fault(FaultKind.LOST_REPLY),
    "request lost": Fault(FaultKind.LOST_REQUEST),
    "reply late": Fault(FaultKind.LATE_REPLY, seconds=0.5),
    "request late": Fault(FaultKind.LATE_REQUEST, seconds=0.5),
    "duplicated": Fault(FaultKind.DUPLICATED),
    "false txid": Fault(FaultKind.FALSE_TXID),
    "swallowed": Fault(FaultKind.SWALLOWED),
    "server busy": Fault(FaultKind.SERVER_BUSY),
    "429": Fault(FaultKind.TOO_MANY),
    "503": Fault(FaultKind.SUSPENDED, seconds=0.3),
    "403": Fault(FaultKind.BANNED, seconds=0.3),
    "html": Fault(FaultKind.HTML, status=502),
}

SENDER = [
    CrashPoint.JOB_TAKEN,
    CrashPoint.REQUEST_BEFORE,
    CrashPoint.REQUEST_OPEN,
    CrashPoint.REQUEST_AFTER,
    CrashPoint.SIGN_BEFORE,
    CrashPoint.SIGN_OPEN,
    CrashPoint.SIGN_AFTER,
    CrashPoint.BROADCAST_OPEN,
    CrashPoint.BROADCAST_AFTER,
    CrashPoint.SEND_AFTER,
    CrashPoint.REPLY_OPEN,
    CrashPoint.REPLY_AFTER,
]


INCLUDE = [CrashPoint.INCLUDE_OPEN, CrashPoint.INCLUDE_AFTER]
SETTLE = [CrashPoint.SETTLE_BEFORE, CrashPoint.SETTLE_OPEN, CrashPoint.SETTLE_AFTER]
REBROADCAST = [CrashPoint.REBROADCAST_OPEN, CrashPoint.REBROADCAST_AFTER, CrashPoint.REBROADCAST_SENT]
REORG = [CrashPoint.REORG_OPEN, CrashPoint.REORG_AFTER]
DEATH = [CrashPoint.EXPIRE_BEFORE, CrashPoint.EXPIRE_OPEN, CrashPoint.EXPIRE_AFTER]
OLD = [CrashPoint.REJECT_OPEN, CrashPoint.REJECT_AFTER]


def choice(points: list[CrashPoint], point: CrashPoint) -> list[tuple[str, list[Fault]]]:
    """The faults to walk a point with: all of them, or every third, another third for each next point."""
    named = [(name, [fault] if fault else []) for name, fault in FAULTS.items()]
    return named if os.environ.get("FLAGPOST_CHAOS") == "full" else named[points.index(point) % 3 :: 3]


async def run_all(plans: list[Plan], server_dsn: str, template: str, zygote: Zygote, directory: Path) -> None:
    """Run trials side by side; report every one that failed."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(plan: Plan) -> None:
        async with slots:
            await run_trial(plan, server_dsn, template, zygote, directory)

    results = await asyncio.gather(*map(one, plans), return_exceptions=True)
    problems = [result for result in results if isinstance(result, Exception)]
    if problems:
        raise ExceptionGroup(f"{len(problems)} of {len(plans)} trials", problems)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zygote() -> AsyncIterator[Zygote]:
    """One for all trials: importing everything takes longer than a trial's processes live."""
    async with Zygote() as started:
        yield started


@pytest.fixture
def walk(server_dsn: str, template: str, zygote: Zygote, home: Path) -> Walk:
    """Runs trials on the session's server."""
    return lambda plans: run_all(plans, server_dsn, template, zygote, home)


async def test_every_point_is_walked() -> None:
    assert {*SENDER, *INCLUDE, *SETTLE, *REBROADCAST, *REORG, *DEATH, *OLD} == set(CrashPoint)


@pytest.mark.parametrize("point", SENDER)
async def test_sender(point: CrashPoint, walk: Walk) -> None:
    """Both senders die once at the point."""
    arms = {"gas-topup": [point], "consolidation": [point]}
    await walk([Plan(f"{point} {name}", arms, faults, crashes=2) for name, faults in choice(SENDER, point)])


@pytest.mark.parametrize("point", INCLUDE)
async def test_include(point: CrashPoint, walk: Walk) -> None:
    """Final only much later, so that the block is surely seen before."""
    await walk(
        [
            Plan(f"{point} {name}", {"confirmations": [point]}, faults, crashes=1, solid_lag=12)
            for name, faults in choice(INCLUDE, point)
        ]
    )


@pytest.mark.parametrize("point", SETTLE)
async def test_settle(point: CrashPoint, walk: Walk) -> None:
    """The confirmation worker dies twice: over the top-up, and over the consolidation or the same top-up again."""
    arms = {"confirmations": [point, point]}
    await walk([Plan(f"{point} {name}", arms, faults, crashes=2) for name, faults in choice(SETTLE, point)])


@pytest.mark.parametrize("point", REBROADCAST)
async def test_rebroadcast(point: CrashPoint, walk: Walk) -> None:
    """The first send reaches nobody, the second meets the fault."""
    nobody = Fault(FaultKind.LOST_REQUEST, count=1)
    await walk(
        [
            Plan(f"{point} {name}", {"confirmations": [point]}, [nobody, *faults], crashes=1)
            for name, faults in choice(REBROADCAST, point)
        ]
    )


@pytest.mark.parametrize("point", REORG)
async def test_reorg(point: CrashPoint, walk: Walk) -> None:
    """The block that holds the top-up is forked away, and its transaction with it."""

    async def fork(trial: Trial) -> None:
        devnet = trial.world.devnet
        await devnet.pause()
        await trial.until_pooled()
        await devnet.mine()
        await trial.until("SELECT FROM chain_transactions WHERE state = 'included'")
        await devnet.fork(1, drop=True)
        await devnet.forget_txids()
        await devnet.resume()

    await walk(
        [
            Plan(f"{point} {name}", {"confirmations": [point]}, faults, fork, crashes=1)
            for name, faults in choice(REORG, point)
        ]
    )


@pytest.mark.parametrize("point", DEATH)
async def test_death(point: CrashPoint, walk: Walk) -> None:
    """The network swallows every send until the transaction has expired; the next one meets the fault."""

    def die_and_then(faults: list[Fault]) -> Scenario:
        async def die(trial: Trial) -> None:
            await trial.until("SELECT FROM chain_transactions WHERE last_result IS NOT NULL")
            await trial.world.devnet.advance(LIFETIME_SECONDS + 20)
            await trial.until("SELECT FROM chain_transactions WHERE state = 'expired'")
            await trial.world.devnet.clear_faults()
            await trial.spoil(*faults)

        return die

    swallowed = Fault(FaultKind.SWALLOWED, count=None)
    await walk(
        [
            Plan(f"{point} {name}", {"confirmations": [point]}, [swallowed], die_and_then(faults), crashes=1)
            for name, faults in choice(DEATH, point)
        ]
    )


@pytest.mark.parametrize("point", OLD)
async def test_old_bytes(point: CrashPoint, walk: Walk) -> None:
    """Bytes are signed, their process dies, and nobody looks at them until they are too old to send."""

    async def time_passes(trial: Trial) -> None:
        await trial.world.devnet.advance(LIFETIME_SECONDS * 0.8)

    await walk(
        [
            Plan(
                f"{point} {name}",
                {"gas-topup": [CrashPoint.SIGN_AFTER, point]},
                faults,
                before_restart={"gas-topup": time_passes},
                crashes=2,
            )
            for name, faults in choice(OLD, point)
        ]
    )
