"""Every named crash point over a real EVM node, with the ways a node can misbehave: exactly one payment of each kind.

By default each point is walked with a sixth of the faults, the next point with another; FLAGPOST_CHAOS=full takes the
whole product.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.local.anvil_proxy import ProxyFault
from pipeline.payments.crashpoints import CrashPoint
from tests.chains.evm.anvil import binary
from tests.chaos.evm_trial import CHEAP, DEAR, EvmPlan, EvmTrial, run_evm_trial
from tests.chaos.evm_world import FINNEY
from tests.chaos.fleet import Zygote
from tests.conftest import temporary_home
from tests.seed import USDT

AT_ONCE = 6
FULL = os.environ.get("FLAGPOST_CHAOS") == "full"

pytestmark = pytest.mark.asyncio(loop_scope="module")

Faults = list[tuple[ProxyFault, int | None]]
FAULTS: dict[str, Faults] = {
    "none": [],
    "reply lost": [(ProxyFault.LOST_REPLY, 2)],
    "request lost": [(ProxyFault.LOST_REQUEST, 2)],
    "late": [(ProxyFault.LATE, 2)],
    "duplicated": [(ProxyFault.DUPLICATED, 2)],
    "false hash": [(ProxyFault.FALSE_HASH, 2)],
    "swallowed": [(ProxyFault.SWALLOWED, 2)],
    "server busy": [(ProxyFault.BUSY, 2)],
    "429": [(ProxyFault.TOO_MANY, 2)],
    "503": [(ProxyFault.SUSPENDED, 2)],
    "html": [(ProxyFault.HTML, 2)],
    "-32005": [(ProxyFault.LIMIT, 2)],
}


def sender(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """Both senders die once at the point."""
    return EvmPlan(name, {"gas-topup": [point], "consolidation": [point]}, faults, crashes=2)


def include(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """The confirmation worker dies over the first block, on which no other follows until it has."""

    async def one_block(trial: EvmTrial) -> None:
        await trial.until("SELECT FROM chain_cursors")
        await trial.stand_still()
        await trial.until_pooled()
        await trial.world.network.mine()
        while not trial.crashes:
            await trial.changed.wait()
            await asyncio.sleep(0)
        trial.running.set()

    return EvmPlan(name, {"confirmations": [point]}, faults, one_block, crashes=1)


def settle(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """It dies twice: over the top-up, and over the consolidation or the same top-up again."""
    return EvmPlan(name, {"confirmations": [point, point]}, faults, crashes=2)


def rebroadcast(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """The first send reaches nobody, the second meets the fault."""
    return EvmPlan(name, {"confirmations": [point]}, [(ProxyFault.LOST_REQUEST, 1), *faults], crashes=1)


def reorg(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """The block that holds the top-up is forked away, and its transaction with it."""

    async def fork(trial: EvmTrial) -> None:
        network = trial.world.network
        await trial.until("SELECT FROM chain_cursors")
        await trial.stand_still()
        await trial.until_pooled()
        await network.mine()
        await trial.until("SELECT FROM chain_transactions WHERE state = 'included'")
        await network.fork_out(1, forget=True)
        trial.running.set()

    return EvmPlan(name, {"confirmations": [point]}, faults, fork, crashes=1)


def death(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """Somebody else uses the nonce of the top-up; it is proved dead, a person looks, and it is made anew, under the
    fault."""

    async def steal(trial: EvmTrial) -> None:
        await trial.until("SELECT FROM chain_transactions WHERE last_result IS NOT NULL")
        trial.world.network.proxy.calm()
        await trial.world.network.node.call("anvil_dropAllTransactions")
        await trial.outsider(0)
        trial.running.set()
        await trial.until("SELECT FROM chain_transactions WHERE state = 'expired'")
        trial.misbehave(faults)
        await trial.world.rows("SELECT release_sender('bsc', %s)", trial.world.gas_address)
        await trial.impatient("SELECT FROM chain_transactions WHERE attempt = 2")

    async def stand_still(trial: EvmTrial) -> None:
        """No block before the outsider's."""

    return EvmPlan(name, {"confirmations": [point]}, [(ProxyFault.SWALLOWED, None)], steal, stand_still, crashes=1)


def refused(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """Both senders die between the commits, and what they asked for is too dear for the signer when they are back: it
    is never signed, its nonce is given back, and they die over that, too."""

    async def tighten_and_loosen(kind: str, trial: EvmTrial) -> None:
        trial.restrict(fee_max=1 if trial.turn(kind) == 1 else None)

    arms = [CrashPoint.REQUEST_AFTER, point]
    kinds = ("gas-topup", "consolidation")
    before = {kind: partial(tighten_and_loosen, kind) for kind in kinds}
    return EvmPlan(name, dict.fromkeys(kinds, arms), faults, before_restart=before, crashes=4)


def decided_anew(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """An intent is written and refused its signature, and a second deposit makes it the wrong amount."""

    async def another_deposit(trial: EvmTrial) -> None:
        turn = trial.turn("consolidation")
        # Three deaths are all that a job is usually given.
        await trial.world.rows("UPDATE job_logs SET max_retries = 9 WHERE status = 'active' RETURNING id")
        trial.restrict(fee_max=1 if turn == 1 else None)
        if turn == 2:
            trial.due += 50 * USDT
            await trial.world.network.fund(trial.wallet.address, 0, 50 * USDT)
            await trial.world.network.finalize()

    arms = {"consolidation": [CrashPoint.REQUEST_AFTER, CrashPoint.REFUSE_AFTER, point]}
    return EvmPlan(name, arms, faults, before_restart={"consolidation": another_deposit}, crashes=3)


def replaced(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """The network becomes too dear for the top-up before a block takes it."""
    kind = "confirmations" if point.startswith("want") else "gas-topup"

    async def rise(trial: EvmTrial) -> None:
        await trial.until("SELECT FROM chain_transactions WHERE last_result IS NOT NULL")
        trial.misbehave(faults)
        trial.price = DEAR
        trial.running.set()
        await trial.until("SELECT FROM chain_transactions WHERE attempt >= 2 AND state IN ('included', 'final')")
        trial.price = CHEAP

    async def stand_still(trial: EvmTrial) -> None:
        """No block before the price has risen."""

    return EvmPlan(name, {kind: [point]}, (), rise, stand_still, crashes=1)


async def forget(trial: EvmTrial) -> None:
    """The top-up is made already, and the database has lost it."""
    await trial.world.send_unrecorded(0, trial.wallet.address, FINNEY)


SERVED = "SELECT FROM job_logs WHERE job_type = 'gas-topup' AND data ->> 'outcome' IN ('skipped', 'sent')"


def forgotten(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """It is seen in the pool, lands, and is recorded."""
    kind = "gas-topup" if point.startswith("reconcile") else "confirmations"

    async def land(trial: EvmTrial) -> None:
        await trial.until("SELECT FROM senders WHERE unknown_below IS NOT NULL")
        trial.running.set()
        await trial.impatient(SERVED)

    return EvmPlan(name, {kind: [point]}, faults, land, forget, crashes=1)


def starved(name: str, point: CrashPoint, faults: Faults) -> EvmPlan:
    """No block takes it: its nonce is to be filled, and one or the other lands."""
    kind = "confirmations" if point.startswith("void") else "gas-topup"

    async def starve(trial: EvmTrial) -> None:
        (pooled,) = (await trial.world.network.node.call("txpool_content"))["pending"].values()
        trial.starving = pooled["0"]["hash"]
        await trial.until("SELECT FROM senders WHERE unknown_below IS NOT NULL")
        trial.running.set()
        await trial.until("SELECT FROM nonces WHERE nonce = 0 AND state <> 'void'")
        async with trial.mining:
            if not point.endswith(("after", "sent")):
                await trial.world.network.node.call("anvil_dropTransaction", trial.starving)
            trial.starving = None
        await trial.impatient(SERVED)

    return EvmPlan(name, {kind: [point]}, faults, starve, forget, crashes=1)


SCENARIOS = {
    "job": sender,
    "request": sender,
    "reserve": sender,
    "sign": sender,
    "broadcast": sender,
    "send": sender,
    "reply": sender,
    "include": include,
    "settle": settle,
    "rebroadcast": rebroadcast,
    "reorg": reorg,
    "expire": death,
    "want": replaced,
    "replace": replaced,
    "reconcile": forgotten,
    "account": forgotten,
    "gap": starved,
    "void": starved,
    "refuse": refused,
    "reject": decided_anew,
}
"""By the first part of a crash point's name."""


def plans(point: CrashPoint) -> list[EvmPlan]:
    """The trials of one crash point."""
    scenario = SCENARIOS[point.partition(".")[0]]
    named = [scenario(f"evm {point} {name}", point, faults) for name, faults in FAULTS.items()]
    return named if FULL else named[list(CrashPoint).index(point) % 6 :: 6]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trials(
    request: pytest.FixtureRequest, server_dsn: str, template: str
) -> AsyncIterator[Mapping[CrashPoint, list[asyncio.Task[None]]]]:
    """The trials of all selected tests, under way."""
    binary()
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(plan: EvmPlan, zygote: Zygote, directory: Path) -> None:
        async with slots:
            await run_evm_trial(plan, server_dsn, template, zygote, directory)

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


@pytest.mark.parametrize("point", list(CrashPoint))
async def test_crash_point(point: CrashPoint, trials: Mapping[CrashPoint, list[asyncio.Task[None]]]) -> None:
    results = await asyncio.gather(*trials[point], return_exceptions=True)
    problems = [result for result in results if isinstance(result, Exception)]
    if problems:
        raise ExceptionGroup(f"{len(problems)} of {len(results)} trials", problems)
