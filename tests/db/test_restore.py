"""A database is restored from a dump with jobs and payments in flight: they go on, and the chain says what was paid."""

import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from psycopg import AsyncConnection

from pipeline.db.migrate import migrate
from pipeline.db.pool import pool_of
from pipeline.embedded.binaries import bundled_binaries
from pipeline.queue.jobs import JobType, Parked
from pipeline.queue.schedule import Scan
from tests.chaos.world import Desk, World
from tests.databases import fresh_database
from tests.db.paying_kit import GAS, leave_asked
from tests.seed import TRX, USDT, Wallet

CONSOLIDATION = JobType.CONSOLIDATION


@pytest.fixture
async def restored(database: str, server_dsn: str) -> AsyncIterator[str]:
    """Where a dump of the test's database is to be restored: there is nothing yet."""
    with fresh_database(server_dsn, label="restored") as dsn:
        yield dsn


def restore(source: str, target: str) -> None:
    """As the runbook does it: a dump of all of it, and then ``flagpost migrate``."""
    programs = bundled_binaries()
    dumping = [str(programs / "pg_dump"), "--format=custom", "--dbname", source]
    dump = subprocess.run(dumping, capture_output=True, check=True)
    restoring = [str(programs / "pg_restore"), "--dbname", target]
    subprocess.run(restoring, input=dump.stdout, check=False, capture_output=True)


async def test_what_was_in_flight_goes_on(world: World, desk: Desk, database: str, restored: str) -> None:
    asked, out, waiting = [await world.wallet() for _ in range(3)]
    full = await world.wallet(usdt=250 * USDT, trx=50 * TRX)
    await world.devnet.solidify()
    await world.flag(asked, gas=True)
    await leave_asked(world, desk, signed=True)
    await world.flag(out, gas=True)
    await pay(desk, GAS, out)
    await world.flag(full, consolidation=True)
    await pay(desk, CONSOLIDATION, full)
    await world.flag(waiting, gas=True)
    await desk.queue.enqueue_flagged(GAS, Scan(), batch=10)

    restore(database, restored)
    await migrate(restored)
    async with (
        await AsyncConnection.connect(restored, autocommit=True) as connection,
        pool_of(restored, "restored", role="pipeline_executor") as paying,
        pool_of(restored, "restored", role="pipeline_confirmations") as confirming,
    ):
        here = replace(world, connection=connection)
        after = Desk(here, paying, confirming)
        # Whoever held jobs is not there any more: the sweep takes them over.
        await connection.execute("UPDATE job_logs SET lease_deadline = now() WHERE lease_deadline IS NOT NULL")
        await connection.execute("SELECT rescue_jobs('1 hour', '0 seconds')")
        for _ in range(3):
            await after.run(GAS)
            await after.run(CONSOLIDATION)
            await after.settle()
        await after.close()
        await here.assert_database_equals_chain()
        statuses = {row["status"] for row in await here.jobs()}
    assert statuses == {"completed"}
    paid = sorted(one.receiver for one in await world.paid_gas())
    assert paid == sorted(wallet.address for wallet in (asked, out, waiting))
    assert [one.sender for one in await world.swept()] == [full.address]


async def pay(desk: Desk, job_type: JobType, wallet: Wallet) -> None:
    """This wallet's job alone."""
    jobs = [one for one in await desk.queue.enqueue_and_claim(job_type, 10) if one.wallet_id == wallet.id]
    assert [outcome for _, outcome in await desk.run(job_type, jobs)] == [Parked()]
