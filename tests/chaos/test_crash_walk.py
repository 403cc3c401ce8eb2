"""Every named crash point, each with every way a node can misbehave: exactly one payment of each kind, on the chain.

By default each point is walked with a rotating choice of faults that covers all of them; FLAGPOST_CHAOS=full takes the
whole product.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.devnet.faults import FaultKind
from pipeline.transfers.crashpoints import CrashPoint
from tests.chaos.fleet import Zygote
from tests.chaos.trial import Fault, Plan, run_trial

AT_ONCE = 6
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


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


async def run_all(plans: list[Plan], server_dsn: str, template: str, zygote: Zygote, directory: Path) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(plan: Plan) -> None:
        async with slots:
            await run_trial(plan, server_dsn, template, zygote, directory)

    problems = [one for one in await asyncio.gather(*map(one, plans), return_exceptions=True) if one]
    if problems:
        raise ExceptionGroup(f"{len(problems)} of {len(plans)} trials", problems)


@pytest.mark.parametrize("point", SENDER)
async def test_sender(point: CrashPoint, server_dsn: str, template: str, zygote: Zygote, home: Path) -> None:
    plans = [
        Plan(f"{point} {name}", {"gas-topup": [point], "consolidation": [point]}, fault, crashes=2)
        for name, fault in FAULTS.items()
    ]
    await run_all(plans, server_dsn, template, zygote, home)
