"""Steps that tests of payments share: what is claimed, killed, taken over and outlived."""

from collections.abc import Sequence

import pytest

from pipeline.chains.values import SignedTransaction
from pipeline.queue.jobs import Job, JobType
from pipeline.signing.request import Answer, Signed, SigningRequest
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


async def leave_asked(world: World, desk: Desk, *, signed: bool = False, job_type: JobType = GAS) -> list[Answer]:
    """A worker dies between the two commits, before or after the signer has answered, and its job is rescued. Returns
    the answers that nobody got."""
    job = await claim(desk, job_type)
    sign = desk.signer.sign
    answers: list[Answer] = []

    async def die(requests: Sequence[SigningRequest]) -> list[Answer]:
        if signed:
            answers.extend(await sign(requests))
        raise Killed

    desk.signer.sign = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await desk.run(job_type, [job])
    desk.signer.sign = sign  # type: ignore[method-assign]
    await rescue(world, job)
    return answers


async def requests(world: World) -> list[str]:
    """States of what was asked to be signed, oldest first."""
    return [row["state"] for row in await world.rows("SELECT state FROM signing_requests ORDER BY created_at")]


async def send_answer(desk: Desk, answer: Answer) -> str:
    """Bytes that nobody kept are out all the same, as when a failover has lost the commit that kept them; the txid."""
    assert isinstance(answer, Signed)
    codec = desk.real_provider.codec
    payment = codec.decode(answer.raw)
    await desk.real_provider.broadcast(SignedTransaction(codec.txid_of(answer.raw), answer.raw, payment.sender, 0))
    return answer.txid
