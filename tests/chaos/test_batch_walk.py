"""A batch at every crash point of its two commits: a wallet's three tokens are three payments of one sender, asked for
and signed together. The whole batch is signed; or its second payment is refused for now, and the third is not reached;
or the second is refused for good. On both families, and each token arrives once.

By default each family walks every other point, the one those that the other leaves out; FLAGPOST_CHAOS=full takes all.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline.payments.crashpoints import CrashPoint
from tests.chains.evm.anvil import binary
from tests.chaos.evm_trial import EvmPlan, run_evm_trial
from tests.chaos.fleet import Zygote
from tests.chaos.trial import Plan, Trial, run_trial
from tests.chaos.world import LIFETIME_SECONDS
from tests.conftest import temporary_home
from tests.seed import TRX, USDT

AT_ONCE = 8
FULL = os.environ.get("FLAGPOST_CHAOS") == "full"
TOKENS = (300 * USDT, 400 * USDT)
"""Beside USDT."""
ROOM_FOR_ONE = {"tron": 5 * TRX, "evm": 1_200_000}
"""Native raw units: more than the fee of one of these payments, less than that of two."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


def signed(family: str, point: CrashPoint) -> dict[str, Any]:
    """None of it is refused."""
    return {"arms": {"consolidation": [point]}, "crashes": 1}


def refused_for_now(family: str, point: CrashPoint) -> dict[str, Any]:
    """The ceiling of the day has room for the first: the second waits, the third is never signed under its request. The
    worker dies over that, and its successor has room for all."""

    async def raise_ceiling(trial: Trial) -> None:
        trial.restrict()

    room = ROOM_FOR_ONE[family]
    return {
        "arms": {"consolidation": [point]},
        "policy": {"fee_max": room, "day_max": room},
        "before_restart": {"consolidation": raise_ceiling},
        "crashes": 1,
    }


def refused_for_good(family: str, point: CrashPoint) -> dict[str, Any]:
    """The worker dies between the commits, and the second token is in no policy when its successor asks again: it is
    given up. The successor dies over that, and the third one may sign all of it."""

    async def forbid_and_allow(trial: Trial) -> None:
        listed = dict(trial.world.policy().contracts)
        if trial.turn("consolidation") == 1:
            del listed[trial.world.further[0]]
        trial.restrict(contracts=listed)

    async def ask_anew(trial: Trial) -> None:
        """Once what was refused could not land any more; what the sync does with the balance that is left is done by
        hand."""
        await trial.until("SELECT FROM transfers WHERE kind <> 'gap' AND state = 'final' HAVING count(*) = 2")
        if family == "tron":
            await trial.world.devnet.advance(LIFETIME_SECONDS + 20)
        await trial.world.flag(trial.wallet, consolidation=True)
        await trial.impatient("SELECT FROM transfers WHERE kind <> 'gap' AND state = 'final' HAVING count(*) = 3")

    return {
        "arms": {"consolidation": [CrashPoint.REQUEST_AFTER, point]},
        "before_restart": {"consolidation": forbid_and_allow},
        "scenario": ask_anew,
        "crashes": 2,
    }


REFUSALS = (CrashPoint.REFUSE_BEFORE, CrashPoint.REFUSE_OPEN, CrashPoint.REFUSE_AFTER)
WALKS: dict[Callable[[str, CrashPoint], dict[str, Any]], tuple[CrashPoint, ...]] = {
    signed: (
        CrashPoint.REQUEST_OPEN,
        CrashPoint.REQUEST_AFTER,
        CrashPoint.SIGN_AFTER,
        CrashPoint.BROADCAST_OPEN,
        CrashPoint.BROADCAST_AFTER,
        CrashPoint.SEND_AFTER,
    ),
    refused_for_now: (CrashPoint.SIGN_AFTER, *REFUSALS),
    refused_for_good: REFUSALS,
}
TRIALS = {
    f"{family}-{walk.__name__}-{point}": (family, partial(walk, family, point))
    for place, family in enumerate(("tron", "evm"))
    for walk, points in WALKS.items()
    for point in (points if FULL else points[place::2])
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trials(
    request: pytest.FixtureRequest, server_dsn: str, template: str
) -> AsyncIterator[Mapping[str, asyncio.Task[None]]]:
    """The trials of all selected tests, under way; each with a home, and so a ledger of what was signed, of its own."""
    slots = asyncio.Semaphore(AT_ONCE)
    selected = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    ]

    async def run(name: str, zygote: Zygote, home: Path) -> None:
        family, plan = TRIALS[name]
        async with slots:
            if family == "tron":
                await run_trial(Plan(name, further=TOKENS, **plan()), server_dsn, template, zygote, home)
            else:
                binary()
                await run_evm_trial(EvmPlan(name, further=TOKENS, **plan()), server_dsn, template, zygote, home)

    with temporary_home() as directory:
        async with Zygote() as zygote:
            homes = {name: directory / str(place) for place, name in enumerate(selected)}
            for home in homes.values():
                home.mkdir()
            under_way = {name: asyncio.create_task(run(name, zygote, home)) for name, home in homes.items()}
            yield under_way
            for task in under_way.values():
                task.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)


@pytest.mark.parametrize("name", TRIALS)
async def test_batch(name: str, trials: Mapping[str, asyncio.Task[None]]) -> None:
    await trials[name]
