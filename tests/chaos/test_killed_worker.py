"""A real consolidation process is killed in the middle of a payment: another one makes it, in seconds and once."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.fleet import Process, Zygote
from tests.chaos.world import MNEMONIC, Desk, World
from tests.policy import write_policy
from tests.seed import TRX, USDT

RECOVERY_SECONDS = 20.0
"""From the kill until the job's payment is out."""
ANSWERED = "SELECT FROM chain_transactions WHERE last_result IS NOT NULL"
"""The node has the bytes. The job is parked before they leave."""


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


async def start(zygote: Zygote, database: str, home: Path, **env: str) -> Process:
    return await zygote.start(
        "consolidation",
        {"DATABASE_URL": database, "FLAGPOST_HOME": str(home), "FLAGPOST_MNEMONIC": MNEMONIC, **env},
        home / "consolidation.log",
    )


@pytest.mark.parametrize("where", ["job.taken", "sign.after"])
async def test_a_payment_goes_on_elsewhere(
    world: World, desk: Desk, zygote: Zygote, database: str, home: Path, where: str
) -> None:
    wallet = await world.wallet(usdt=250 * USDT, trx=50 * TRX)
    await world.devnet.solidify()
    write_policy(home, world.policy())
    doomed = await start(zygote, database, home, FLAGPOST_CRASH_POINT=where)
    await world.flag(wallet, consolidation=True)
    async with asyncio.timeout(RECOVERY_SECONDS):
        assert await doomed.status == -signal.SIGKILL
    killed = time.monotonic()
    await start(zygote, database, home)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while not await world.rows(ANSWERED):  # noqa: ASYNC110 -- no NOTIFY of ours
            await asyncio.sleep(0.05)
    assert time.monotonic() - killed < RECOVERY_SECONDS
    await world.devnet.solidify()
    await desk.settlement.round()
    assert [payment.amount for payment in await world.swept()] == [250 * USDT]
    ((job),) = await world.jobs()
    assert (job["retry_count"], job["data"]["history_count"]) == (1, 1)
    await world.assert_database_equals_chain()
