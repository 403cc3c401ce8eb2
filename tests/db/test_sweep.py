"""The sweep: what it finds, what it leaves alone, and that only one acts."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.errors import QueryCanceled

from pipeline.db.pool import Connection
from pipeline.queue.jobs import Done, Failed, JobType
from pipeline.queue.queue import JobQueue
from pipeline.workers.sweep import Cycle, Sweep
from tests.db.worker_kit import (
    PATIENCE,
    Script,
    configure,
    executor,
    flag,
    heartbeat,
    jobs,
    queue_of,
    rows,
    running,
    statuses,
    until_count,
)
from tests.logs import logged
from tests.seed import Chain, add_wallets


class Cycles:
    """The cycles of a sweep as they end."""

    def __init__(self) -> None:
        self.seen: list[Cycle] = []
        self._ended: asyncio.Queue[Cycle] = asyncio.Queue()

    def __call__(self, cycle: Cycle) -> None:
        self.seen.append(cycle)
        self._ended.put_nowait(cycle)

    async def until(self, condition: Callable[[Cycle], bool]) -> Cycle:
        async with asyncio.timeout(PATIENCE):
            while not condition(cycle := await self._ended.get()):
                pass
        return cycle


async def often(connection: Connection, **more: object) -> None:
    await configure(connection, sweep__interval_seconds=0.1, sweep__grace_seconds=0, **more)


async def overlook(connection: Connection, *wallet_ids: int) -> None:
    """Raise needs_gas without a doorbell."""
    await connection.execute("ALTER TABLE wallets DISABLE TRIGGER wallet_flags_update")
    await flag(connection, *wallet_ids)
    await connection.execute("ALTER TABLE wallets ENABLE TRIGGER wallet_flags_update")


async def break_off(connection: Connection, name: str, parameters: str, returns: str = "void") -> None:
    """Have this function broken off, as by the timeout of a statement."""
    await connection.execute(
        f"CREATE OR REPLACE FUNCTION {name}({parameters}) RETURNS {returns} LANGUAGE plpgsql AS"  # type: ignore[arg-type]
        " $$ BEGIN RAISE query_canceled USING MESSAGE = 'canceling statement due to statement timeout'; END $$"
    )


async def test_what_no_event_brought_is_found_and_run(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 25)
    cycles, script = Cycles(), Script()
    async with running(executor(script), database):  # it is listening, but nothing is notified
        await overlook(connection, *[wallet.id for wallet in wallets])
        assert script.started == []
    await often(connection, sweep__batch=10)
    async with running(Sweep(observer=cycles), database) as runtime:
        cycle = await cycles.until(lambda cycle: cycle.missed_events > 0)
        async with running(executor(script), database):
            await script.until_written(25)
        await heartbeat(runtime)
        (row,) = await rows(connection, "SELECT stats FROM worker_registry WHERE type = 'sweep'")
        assert row["stats"]["missed_events"] == 25
        assert row["stats"]["acting"] is True
    assert cycle.missed == {"gas-topup": 25, "consolidation": 0}
    assert {job.triggered_by for job in script.started} == {"sweep"}
    summaries = await rows(
        connection,
        "SELECT job_type, status, triggered_by, data FROM job_logs WHERE data->>'queue_summary' = 'true' ORDER BY seq",
    )
    assert len(summaries) >= len(cycles.seen)
    first = next(row for row in summaries if row["data"]["missed_events"])
    assert (first["job_type"], first["status"], first["triggered_by"]) == ("sync", "completed", "schedule")
    assert first["data"]["missed"]["gas-topup"] == 25
    assert first["data"]["flagged"].get("gas-topup", 0) <= 25


async def test_a_listener_that_hears_nothing_is_served_by_the_sweep(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Lossy listeners ignore the sweep's NOTIFY as well and come by their own timer; nothing is lost, only late."""
    wallets = await add_wallets(connection, tron, 5)
    await often(connection)
    script = Script()
    async with running(executor(script), database, lossy=True), running(Sweep(), database):
        await flag(connection, *[wallet.id for wallet in wallets])
        await script.until_written(5)
    # The sweep's look may straddle a whole job, and then queues a second one, which finds nothing to do.
    assert {job.wallet_id for job in script.started} == {wallet.id for wallet in wallets}
    assert (await statuses(connection)).keys() == {"completed"}


async def test_young_flags_are_no_missed_events(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await configure(connection, sweep__interval_seconds=0.1, sweep__grace_seconds=3600)
    cycles = Cycles()
    async with running(Sweep(observer=cycles), database):
        await flag(connection, wallet.id)
        await cycles.until(lambda _: len(cycles.seen) >= 3)
    assert sum(cycle.missed_events for cycle in cycles.seen) == 0
    assert await jobs(connection) == []


async def test_a_listener_at_work_leaves_nothing_to_miss(connection: Connection, database: str, tron: Chain) -> None:
    """More flags than it may hold: they are queued at the NOTIFY, so that the sweep calls none of them missed."""
    wallets = await add_wallets(connection, tron, 30)
    await configure(connection, queue__concurrency=2, queue__enqueue_batch=7)
    go_on = asyncio.Event()

    async def answer(_: object) -> Done:
        await go_on.wait()
        return Done(clear_flag=True)

    cycles, script = Cycles(), Script(answer=answer)
    async with running(executor(script), database):
        await flag(connection, *[wallet.id for wallet in wallets[:20]])
        await script.until_started(1)
        await flag(connection, *[wallet.id for wallet in wallets[20:]])  # it has no room now
        await until_count(connection, "SELECT count(*) FROM job_logs WHERE wallet_id IS NOT NULL", 30)
        await often(connection)  # not before: the listener has a timer too, which could outrun a slow NOTIFY
        async with running(Sweep(observer=cycles), database):
            await cycles.until(lambda _: len(cycles.seen) >= 2)
            go_on.set()
            await script.until_written(30)
    assert sum(cycle.missed_events for cycle in cycles.seen) == 0
    assert {job.triggered_by for job in script.started} == {"event"}


async def test_a_dead_letter_is_tried_again_after_its_rest(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await flag(connection, wallet.id)
    async with queue_of(database) as queue:
        (job,) = await queue.enqueue_and_claim(job_type=executor(Script()).job_type, capacity=1)
        await queue.finish([(job, Failed("poisoned"))])
    await often(connection, queue__quiet_seconds=0)
    cycles = Cycles()
    async with running(Sweep(observer=cycles), database):
        cycle = await cycles.until(lambda cycle: cycle.after_failure > 0)
    assert (cycle.after_failure, cycle.missed_events) == (1, 0)


async def test_jobs_of_a_silent_worker_are_rescued_and_those_of_a_live_one_are_not(
    connection: Connection, database: str, tron: Chain
) -> None:
    silent, alive, landing = await add_wallets(connection, tron, 3)
    go_on = asyncio.Event()

    async def answer(_: object) -> Done:
        await go_on.wait()
        return Done(clear_flag=True)

    script = Script(answer=answer)
    await often(connection)
    cycles = Cycles()
    async with running(executor(script), database):
        await flag(connection, alive.id)
        await script.until_started(1)
        await configure(connection, paused=True)  # so that it does not take what is rescued
        await connection.execute(
            """
            INSERT INTO worker_registry (id, incarnation, name, type, last_heartbeat)
            VALUES ('all-gas-topup-009', '00000000-0000-0000-0000-000000000001', 'gas-topup@gone:1', 'gas-topup',
                    now() - interval '2 min')
            """
        )
        for name, wallet, waiting in (("abandoned", silent, False), ("in-the-air", landing, True)):
            await connection.execute(
                """
                INSERT INTO job_logs (job_id, job_type, wallet_address, status, lease, leased_by, lease_deadline,
                                      started_at, awaiting_chain)
                VALUES (%s, 'gas-topup', %s, 'active', 1, %s, now() + interval '1 hour', now(), %s)
                """,
                [name, wallet.address, None if waiting else "00000000-0000-0000-0000-000000000001", waiting],
            )
        # A long job of a live worker, older than any limit but its own deadline.
        await connection.execute("ALTER TABLE job_logs DISABLE TRIGGER USER")
        await connection.execute("UPDATE job_logs SET updated_at = now() - interval '1 day'")
        await connection.execute("ALTER TABLE job_logs ENABLE TRIGGER USER")
        async with running(Sweep(observer=cycles), database, check_seconds=0.1):
            cycle = await cycles.until(lambda cycle: cycle.rescued > 0)
        go_on.set()
        await script.until_written(1)
    assert (cycle.rescued, cycle.silent_workers) == (1, 1)
    (job,) = await jobs(connection, job_id="abandoned")
    assert (job["status"], job["retry_count"]) == ("retrying", 1)
    assert "gas-topup@gone:1 has been silent" in job["error_message"]
    (job,) = await jobs(connection, job_id="in-the-air")
    assert job["status"] == "active"
    (job,) = await jobs(connection, wallet_id=alive.id)
    assert (job["status"], job["retry_count"]) == ("completed", 0)
    (worker,) = await rows(connection, "SELECT status, last_error FROM worker_registry WHERE name = 'gas-topup@gone:1'")
    assert worker["status"] == "error"
    assert worker["last_error"].startswith("silent since")


async def test_locks_that_expired_are_cleared(connection: Connection, database: str, tron: Chain) -> None:
    await add_wallets(connection, tron, 1)
    await connection.execute(
        """
        UPDATE wallet_balances
        SET processing_status = 'processing', locked_by = 'gone', locked_until = now() - interval '1 s'
        """
    )
    cycles = Cycles()
    await often(connection)
    async with running(Sweep(observer=cycles), database):
        await cycles.until(lambda _: True)
    assert await rows(connection, "SELECT FROM wallet_balances WHERE processing_status <> 'idle'") == []


async def test_one_acts_and_the_other_stands_by(connection: Connection, database: str, tron: Chain) -> None:
    await often(connection)
    first, second = Cycles(), Cycles()
    standby = Sweep(observer=second, standby_seconds=0.05)
    async with running(Sweep(observer=first), database):
        await first.until(lambda _: True)
        async with running(standby, database) as runtime:
            await heartbeat(runtime)
            await first.until(lambda _: len(first.seen) >= 5)
            assert not standby.acting.is_set()
            assert second.seen == []


async def test_the_next_one_takes_over(connection: Connection, database: str, tron: Chain) -> None:
    await often(connection)
    first, second = Cycles(), Cycles()
    standby = Sweep(observer=second, standby_seconds=0.05)
    async with running(Sweep(observer=first), database) as acting:
        await first.until(lambda _: True)
        async with running(standby, database):
            acting.stop()
            await second.until(lambda _: True)
            assert standby.acting.is_set()


async def test_a_paused_system_is_not_swept(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    await often(connection, paused=True)
    cycles = Cycles()
    async with running(Sweep(observer=cycles), database):
        await flag(connection, wallet.id)
        await cycles.until(lambda _: len(cycles.seen) >= 2)
        assert await jobs(connection) == []
        await configure(connection, paused=False)
        await cycles.until(lambda cycle: cycle.missed_events == 1)


async def test_flags_are_swept_whatever_else_is_broken_off(connection: Connection, database: str, tron: Chain) -> None:
    """One statement that took over 30 s was asked for ever, and no flag was swept any more."""
    wallets = await add_wallets(connection, tron, 3)
    broken = ("repair_times", "repair_jobs", "repair_wallets", "rescue_jobs", "advance_sequences")
    for name in broken:
        ((signature, returns),) = await value_pairs(connection, name)
        await connection.execute(f"DROP FUNCTION {name} CASCADE")  # type: ignore[arg-type]
        await break_off(connection, name, signature, returns)
    await often(connection, cleanup__interval_seconds=0.1)
    cycles = Cycles()
    with logged("ERROR") as lines:
        async with running(Sweep(observer=cycles), database) as runtime:
            await overlook(connection, wallets[0].id)
            await cycles.until(lambda cycle: cycle.missed_events == 1)
            await overlook(connection, wallets[1].id)
            await cycles.until(lambda cycle: cycle.missed_events == 1)
            await heartbeat(runtime)
            (row,) = await rows(connection, "SELECT last_error FROM worker_registry WHERE type = 'sweep'")
    named = {"sweep/repair_times", "sweep/repair_jobs", "sweep/repair_wallets", "sweep/cleanup", "sequences/advance"}
    for name in named:
        assert len([line for line in lines if f" {name} (" in line]) == 1, name
        assert f"the server breaks off the statement {name} (canceling statement due to" in row["last_error"]


async def value_pairs(connection: Connection, name: str) -> list[tuple[str, str]]:
    """Parameters and result of a function."""
    found = await rows(
        connection,
        "SELECT pg_get_function_arguments(oid) AS takes, pg_get_function_result(oid) AS gives FROM pg_proc"
        " WHERE proname = %s",
        name,
    )
    return [(row["takes"], row["gives"]) for row in found]


async def test_a_type_whose_flags_take_too_long_keeps_no_other_waiting(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    gas, tokens = await add_wallets(connection, tron, 2)
    real = JobQueue.enqueue_flagged

    async def slow(queue: JobQueue, job_type: JobType, *more: Any, **options: Any) -> Any:
        if job_type is JobType.GAS_TOPUP:
            raise QueryCanceled("canceling statement due to statement timeout")
        return await real(queue, job_type, *more, **options)

    monkeypatch.setattr(JobQueue, "enqueue_flagged", slow)
    await often(connection)
    cycles = Cycles()
    async with running(Sweep(observer=cycles), database) as runtime:
        await connection.execute("ALTER TABLE wallets DISABLE TRIGGER wallet_flags_update")
        await flag(connection, gas.id)
        await flag(connection, tokens.id, gas=None, tokens=True)
        cycle = await cycles.until(lambda cycle: cycle.missed_events > 0)
        assert cycle.missed == {"gas-topup": 0, "consolidation": 1}
        assert "sweeping flags for gas-topup waits" in (runtime.last_error or "")
        monkeypatch.undo()
        cycle = await cycles.until(lambda cycle: cycle.missed_events > 0)
        assert cycle.missed == {"gas-topup": 1, "consolidation": 0}, "flags are asked for at every sweep"
        assert runtime.last_error is None
