"""Steps that tests of payments share: what is claimed, killed, taken over and outlived."""

import pytest

from pipeline.queue.jobs import Job, JobType
from tests.chaos.world import Desk, World

GAS = JobType.GAS_TOPUP


class Killed(BaseException):
    """Ends a handler where it stands, past every ``except Exception``."""


async def claim(desk: Desk, job_type: JobType) -> Job:
    (job,) = await desk.queue.enqueue_and_claim(job_type, 10)
    return job


async def rescue(world: World, job: Job) -> None:
    """What the sweep does to an attempt whose worker is gone."""
    await world.connection.execute(
        "UPDATE job_logs SET status = 'retrying', leased_by = NULL, run_at = now() WHERE id = %s",
        [job.id],
    )


async def outlived(world: World, desk: Desk) -> None:
    """What was signed until now has expired, by the final blocks that were read; what waits is due."""
    await world.devnet.advance(61)
    await world.devnet.mine(4)
    await desk.settlement.round()
    await world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")


async def states(world: World) -> tuple[list[str], list[str], list[str]]:
    """Of jobs, transfers and attempts."""
    return (
        [row["status"] for row in await world.jobs()],
        [row["state"] for row in await world.transfers()],
        [row["state"] for row in await world.attempts()],
    )


async def leave_signed(world: World, desk: Desk) -> None:
    """A worker dies between the commits of signed and broadcasting, and its job is rescued."""
    job = await claim(desk, GAS)
    begin = desk.store.begin_broadcast

    async def die(*_: object) -> None:
        raise Killed

    desk.store.begin_broadcast = die  # type: ignore[method-assign,assignment]
    with pytest.raises(Killed):
        await desk.run(GAS, [job])
    desk.store.begin_broadcast = begin  # type: ignore[method-assign]
    await rescue(world, job)
