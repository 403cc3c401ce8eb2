"""The executor's loop on a real database: what wakes it, what it holds, and what two of them share."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection
from pipeline.queue import schedule
from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Outcome, Retry
from pipeline.queue.queue import Exchange, JobQueue
from pipeline.workers.executor import Executor
from pipeline.workers.runtime import Runtime
from tests.db.worker_kit import (
    PATIENCE,
    Script,
    configure,
    executor,
    flag,
    heartbeat,
    jobs,
    rows,
    running,
    statuses,
)
from tests.seed import USDT, Chain, add_wallets, set_balance


async def test_a_flag_by_hand_runs_at_once(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    script = Script()
    async with running(executor(script), database) as runtime:
        await flag(connection, wallet.id)
        await script.until_written(1)
        (job,) = script.started
        assert job.triggered_by == "event"
        await heartbeat(runtime)
        (worker,) = await rows(connection, "SELECT stats FROM worker_registry")
    assert worker["stats"]["jobs_by_event"] == 1
    assert worker["stats"]["done"] == 1
    (row,) = await rows(connection, "SELECT needs_gas FROM wallets")
    assert not row["needs_gas"]


async def test_a_flag_that_is_served_asks_for_nothing_but_its_job(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a waiting job falls due is known until a NOTIFY, a delay of our own or the timer says otherwise."""
    wallets = await add_wallets(connection, tron, 5)
    asked = 0
    ask = JobQueue.next_due

    async def counted(self: JobQueue, job_type: JobType) -> float | None:
        nonlocal asked
        asked += 1
        return await ask(self, job_type)

    monkeypatch.setattr(JobQueue, "next_due", counted)
    monkeypatch.setattr("pipeline.queue.schedule.DUE_CHECK_SECONDS", PATIENCE)
    script = Script(answer=lambda job: Retry("no") if job.wallet_id == wallets[-1].id else Done(clear_flag=True))
    async with running(executor(script), database) as runtime:
        at_first = asked
        for served, wallet in enumerate(wallets[:-1], 1):
            await flag(connection, wallet.id)
            await script.until_written(served)
        assert (at_first, asked) == (1, 1)
        await flag(connection, wallets[-1].id)
        await script.until_written(len(wallets))
        await heartbeat(runtime)
        assert asked == 2, "a job of our own waits for its next attempt"


async def test_a_job_that_is_added_while_others_are_claimed_is_taken_at_once(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its NOTIFY comes after the tables were read and before their answer does."""
    flagged, by_hand = await add_wallets(connection, tron, 2)
    monkeypatch.setattr("pipeline.queue.schedule.DUE_CHECK_SECONDS", 2 * PATIENCE)
    exchange = JobQueue.exchange
    between: list[Runtime] = []

    async def interrupted(self: JobQueue, *arguments: Any, **options: Any) -> Exchange:
        answer = await exchange(self, *arguments, **options)
        if between:
            listener = between.pop().listener
            listener.heard.clear()
            await connection.execute(
                "INSERT INTO job_logs (job_id, job_type, wallet_address, run_at)"
                " VALUES ('mine', 'gas-topup', %s, now() - interval '1 minute')",
                [by_hand.address],
            )
            await listener.heard.wait()
        return answer

    monkeypatch.setattr(JobQueue, "exchange", interrupted)
    script = Script()
    async with running(executor(script), database) as runtime:
        between.append(runtime)
        await flag(connection, flagged.id)
        await script.until_written(2)
    assert {job.wallet_id for job in script.started} == {flagged.id, by_hand.id}


async def test_what_no_notify_told_of_is_found_however_often_others_are_put_off(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each outcome that waits asks anew what is due; none of that puts off the reading of all that wait."""
    silent, *wallets = await add_wallets(connection, tron, 200)
    monkeypatch.setattr("pipeline.queue.schedule.DUE_CHECK_SECONDS", 0.3)
    script = Script(answer=lambda _: Defer(300, "the budget is spent"))
    async with running(executor(script), database):
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(
                "INSERT INTO job_logs (job_id, job_type, status, wallet_id, wallet_address, chain_id, run_at)"
                " VALUES ('silent', 'gas-topup', 'pending', %s, %s, %s, now() - interval '1 minute')",
                [silent.id, silent.address, tron.id],
            )
        for wallet in wallets:
            before = len(script.written)
            await flag(connection, wallet.id)
            await script.until_written(before + 1)
            if silent.id in {job.wallet_id for job in script.started}:
                break
    assert silent.id in {job.wallet_id for job in script.started}


async def test_a_job_typed_by_hand_runs(connection: Connection, database: str, tron: Chain) -> None:
    """The four columns of the runbook, and nothing else."""
    (wallet,) = await add_wallets(connection, tron, 1)
    script = Script()
    async with running(executor(script), database):
        await connection.execute(
            """
            INSERT INTO job_logs (job_id, job_type, status, wallet_address)
            VALUES ('mine', 'gas-topup', 'pending', %s)
            """,
            [wallet.address],
        )
        await script.until_written(1)
    (row,) = await jobs(connection)
    assert (row["job_id"], row["status"], row["wallet_id"], row["triggered_by"]) == (
        "mine",
        "completed",
        wallet.id,
        "manual",
    )


async def test_what_is_flagged_already_is_taken_at_the_start(
    connection: Connection, database: str, tron: Chain
) -> None:
    wallets = await add_wallets(connection, tron, 3)
    await flag(connection, *[wallet.id for wallet in wallets])
    script = Script()
    async with running(executor(script), database):
        await script.until_written(3)
    assert {job.triggered_by for job in script.started} == {"system"}


async def test_a_change_that_arrives_mid_run_is_not_lost(connection: Connection, database: str, tron: Chain) -> None:
    """The flag is up all the time, so nothing notifies: the executor claims again by itself."""
    (wallet,) = await add_wallets(connection, tron, 1)
    go_on = asyncio.Event()

    async def answer(_: Job) -> Outcome:
        if len(script.started) == 1:
            await go_on.wait()
        return Done(clear_flag=True)

    script = Script(answer=answer)
    async with running(executor(script, JobType.CONSOLIDATION), database):
        await set_balance(connection, wallet, tron.token_id, 250 * USDT)
        await connection.execute("UPDATE wallets SET needs_gas = false")
        await script.until_started(1)
        await set_balance(connection, wallet, tron.token_id, 700 * USDT)
        go_on.set()
        await script.until_written(2)
    assert [row["status"] for row in await jobs(connection)] == ["completed", "completed"]


async def test_more_work_than_it_may_hold(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 40)
    await configure(connection, queue__concurrency=4, queue__enqueue_batch=10)
    most = 0

    async def answer(_: Job) -> Outcome:
        nonlocal most
        most = max(most, len(script.running))
        await asyncio.sleep(0)
        return Done(clear_flag=True)

    script = Script(answer=answer)
    async with running(executor(script), database):
        await flag(connection, *[wallet.id for wallet in wallets])
        await script.until_written(40)
    assert most <= 4
    assert await statuses(connection) == {"completed": 40}
    # The backlog was queued, so that the sweep finds no flag without a job.
    assert {job.triggered_by for job in script.started} == {"event"}


async def test_two_executors_share_and_never_run_a_job_twice(
    connection: Connection, database: str, tron: Chain
) -> None:
    wallets = await add_wallets(connection, tron, 150)
    await configure(connection, queue__concurrency=10, queue__enqueue_batch=40)
    dice = random.Random(7)

    async def answer(_: Job) -> Outcome:
        await asyncio.sleep(dice.random() / 500)
        return Done(clear_flag=True)

    one, two = Script(answer=answer), Script(answer=answer)
    two.running, two.overlaps = one.running, one.overlaps  # seen together
    async with running(executor(one), database), running(executor(two), database):
        for start in range(0, 150, 30):
            await flag(connection, *[wallet.id for wallet in wallets[start : start + 30]])
        async with asyncio.timeout(PATIENCE):
            while len(one.written) + len(two.written) < 150:  # noqa: ASYNC110 - two signals, whichever comes
                await asyncio.sleep(0.01)
    assert one.overlaps == []
    assert sorted(job.wallet_id for job in one.started + two.started) == sorted(wallet.id for wallet in wallets)
    assert min(len(one.started), len(two.started)) > 10, "both worked"
    assert all(ours for _, _, ours in one.written + two.written)


async def test_retries_wait_and_then_come_by_their_own_timer(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await configure(connection, queue__backoff_base_seconds=0.3)
    script = Script(answer=lambda job: Retry("not yet") if job.retry_count < 2 else Done(clear_flag=True))
    async with running(executor(script), database):
        await flag(connection, wallet.id)
        await script.until_written(3)
    (row,) = await jobs(connection)
    assert (row["status"], row["retry_count"], row["lease"]) == ("completed", 2, 3)
    assert [entry["error"] for entry in row["data"]["history"]] == ["not yet", "not yet"]
    assert row["error_message"] is None


async def test_a_deferred_job_comes_back_without_using_up_an_attempt(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    script = Script(answer=lambda job: Defer(0.3, "gas wallet is short") if job.lease < 6 else Done(clear_flag=True))
    async with running(executor(script), database):
        await flag(connection, wallet.id)
        await script.until_written(6)
    (row,) = await jobs(connection)
    assert (row["status"], row["retry_count"], row["lease"]) == ("completed", 0, 6)


async def test_a_dead_letter_does_not_spin(connection: Connection, database: str, tron: Chain) -> None:
    poisoned, healthy = await add_wallets(connection, tron, 2)
    script = Script(answer=lambda job: Failed("poisoned") if job.wallet_id == poisoned.id else Done(clear_flag=True))
    async with running(executor(script), database):
        await flag(connection, poisoned.id)
        await script.until_written(1)
        await flag(connection, healthy.id)
        await script.until_written(2)
    assert [job.wallet_id for job in script.started] == [poisoned.id, healthy.id]
    (row,) = await jobs(connection, wallet_id=poisoned.id)
    assert (row["status"], row["error_message"]) == ("failed", "poisoned")


@pytest.mark.parametrize("fault", ["raises", "forgets", "stalls"])
async def test_a_faulty_handler_costs_an_attempt(
    connection: Connection, database: str, tron: Chain, fault: str
) -> None:
    wallets = await add_wallets(connection, tron, 2)
    if fault == "stalls":
        await configure(connection, queue__deadline_seconds=1)
    written = asyncio.Queue[tuple[Job, Outcome, bool]]()

    async def handle(batch: Sequence[Job]) -> AsyncIterator[tuple[Job, Outcome]]:
        yield batch[0], Done(clear_flag=True)
        if fault == "raises":
            raise ValueError("an unexpected reply")
        if fault == "stalls":
            await asyncio.Event().wait()

    worker = Executor(
        JobType.GAS_TOPUP, handle, observer=lambda job, outcome, ours: written.put_nowait((job, outcome, ours))
    )
    await flag(connection, *[wallet.id for wallet in wallets])
    async with running(worker, database), asyncio.timeout(PATIENCE):
        results = [await written.get() for _ in range(2)]
    assert {type(outcome) for _, outcome, _ in results} == {Done, Retry}
    (row,) = await jobs(connection, status="retrying")
    expected = {
        "raises": "ValueError: an unexpected reply",
        "forgets": "without an outcome",
        "stalls": "queue.deadline_seconds",
    }
    assert expected[fault] in row["error_message"]


async def test_an_outcome_that_cannot_be_written_fails_alone(
    connection: Connection, database: str, tron: Chain
) -> None:
    bad, good = await add_wallets(connection, tron, 2)
    script = Script(answer=lambda job: Done({"amount": object()} if job.wallet_id == bad.id else {}, clear_flag=True))
    async with running(executor(script), database):
        await flag(connection, bad.id, good.id)
        await script.until_written(2)
    (row,) = await jobs(connection, wallet_id=bad.id)
    assert row["status"] == "failed"
    assert "could not be written" in row["error_message"]
    (row,) = await jobs(connection, wallet_id=good.id)
    assert row["status"] == "completed"


async def test_a_lease_lost_while_it_runs(connection: Connection, database: str, tron: Chain) -> None:
    """Rescued past its deadline, the job runs anew; the first attempt comes too late and changes nothing."""
    (wallet,) = await add_wallets(connection, tron, 1)
    go_on = asyncio.Event()

    async def answer(job: Job) -> Outcome:
        if job.lease == 1:
            await go_on.wait()
            return Failed("too late")
        return Done(clear_flag=True)

    script = Script(answer=answer)
    async with running(executor(script), database):
        await flag(connection, wallet.id)
        await script.until_started(1)
        await connection.execute("UPDATE job_logs SET lease_deadline = now() - interval '1 second'")
        await connection.execute("SELECT * FROM rescue_jobs('60 seconds', '60 seconds')")
        await script.until_written(1)
        go_on.set()
        await script.until_written(2)
    assert [(outcome, ours) for _, outcome, ours in script.written] == [
        (Done(clear_flag=True), True),
        (Failed("too late"), False),
    ]
    (row,) = await jobs(connection)
    assert (row["status"], row["lease"], row["retry_count"]) == ("completed", 2, 1)


async def test_lossy_listeners_live_by_their_timer(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 5)
    await configure(connection, sweep__interval_seconds=0.2, sweep__grace_seconds=0)
    script = Script()
    async with running(executor(script), database, lossy=True) as runtime:
        await flag(connection, *[wallet.id for wallet in wallets])
        await script.until_written(5)
        assert runtime.listener.received["wallet_flags"] >= 1, "it was notified, and ignored it"
    assert {job.triggered_by for job in script.started} == {"sweep"}


async def test_a_flag_from_a_long_transaction_is_found_by_the_next_full_scan(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scans in between read what is new; this was raised before the last full one, and committed after it."""
    monkeypatch.setattr(schedule, "FULL_SCAN_SECONDS", 0.5)
    monkeypatch.setattr(schedule, "MARGIN_SECONDS", 0.0)
    slow, quick, last = await add_wallets(connection, tron, 3)
    script = Script()
    worker = executor(script)
    async with running(worker, database), await AsyncConnection.connect(database) as operator:
        await operator.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [slow.id])
        await flag(connection, quick.id)
        await script.until_written(1)
        async with asyncio.timeout(PATIENCE):
            while worker.schedule.full_scan_owed:  # noqa: ASYNC110 - until the full scan, which cannot see it
                await asyncio.sleep(0.01)
        await flag(connection, last.id)
        await operator.commit()
        await script.until_written(3)
    assert {job.wallet_id for job in script.started} == {slow.id, quick.id, last.id}


async def test_the_flag_time_is_kept_in_the_job(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    script = Script(answer=lambda _: Done({"outcome": "skipped"}, clear_flag=True))
    async with running(executor(script), database):
        await flag(connection, wallet.id)
        await script.until_written(1)
    (row,) = await jobs(connection)
    assert row["data"].keys() == {"flagged_at", "wait_ms", "duration_ms", "outcome"}
    assert 0 <= row["data"]["wait_ms"] < PATIENCE * 1000
    assert 0 <= row["data"]["duration_ms"] < PATIENCE * 1000


async def test_a_job_of_another_chain_is_left_to_others(connection: Connection, database: str, tron: Chain) -> None:
    wallet, other = await add_wallets(connection, tron, 2)
    script, elsewhere = Script(), Script()
    async with (
        running(executor(elsewhere, chain_ids=[tron.id + 1]), database),
        running(executor(script, chain_ids=[tron.id]), database),
    ):
        await flag(connection, wallet.id)
        await connection.execute(
            "INSERT INTO job_logs (job_id, job_type, wallet_address, data) VALUES ('mine', 'gas-topup', %s, %s)",
            [other.address, Jsonb({"note": "x"})],
        )
        await script.until_written(2)
    assert elsewhere.started == []
