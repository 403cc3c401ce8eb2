"""Who is dead, who only seems so, and how soon what the dead held goes on elsewhere."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from pipeline.db.listener import Listener
from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from pipeline.queue.jobs import Failed, Retry
from tests.db.money import new_job
from tests.db.notifications import notifications_of
from tests.db.sessions import rows, second_session, value
from tests.db.test_runtime import child, read_line
from tests.db.worker_kit import PATIENCE, Script, executor, flag, heartbeat, queue_of, running
from tests.seed import Chain, add_wallets

RECOVERY_SECONDS = 20.0
"""The aim for a worker that is killed."""
LATE = timedelta(seconds=6)
EARLY = timedelta(seconds=3)


async def add_worker(
    connection: Connection, lost: timedelta | None, *, seen: bool = True, worker: UUID | None = None
) -> UUID:
    """A registered worker whose session was missed so long ago (None: not missed)."""
    return await value(
        connection,
        "INSERT INTO worker_registry (id, incarnation, name, type, session_seen, session_lost_at)"
        " SELECT format('all-gas-topup-%%s', to_char(count(*) + 1, 'FM000')), %s, 'w1', 'gas-topup', %s,"
        " now() - %s::interval FROM worker_registry RETURNING incarnation",
        worker or uuid4(),
        seen,
        lost,
    )


@asynccontextmanager
async def session_of(worker: UUID, dsn: str) -> AsyncIterator[None]:
    async with second_session(dsn) as session:
        await session.execute(statement("listener/hold_session"), {"worker_id": worker})
        yield


async def hold_job(connection: Connection, tron: Chain, worker: UUID) -> None:
    """A job that ``worker`` has just taken."""
    (wallet,) = await add_wallets(connection, tron, 1)
    job = await new_job(connection, wallet)
    await connection.execute(
        "UPDATE job_logs SET leased_by = %s, lease_deadline = now() + interval '1 hour' WHERE id = %s", [worker, job]
    )


async def rescue(connection: Connection) -> list[tuple[Any, ...]]:
    """One look, as every process takes it; what was rescued."""
    await rows(connection, "SELECT mark_silent_workers('60 s')")
    return await rows(connection, "SELECT status, reason FROM rescue_jobs('60 s', '60 s')")


class TestWhoIsDead:
    async def test_a_session_that_stays_away(self, connection: Connection, tron: Chain) -> None:
        await hold_job(connection, tron, await add_worker(connection, LATE))
        assert await rescue(connection) == [("retrying", "its worker w1 died")]
        ((status, error),) = await rows(connection, "SELECT status, last_error FROM worker_registry")
        assert status == "error"
        assert error.startswith("died at ")

    async def test_what_it_claimed_as_it_died_and_came_through_later(self, connection: Connection, tron: Chain) -> None:
        worker = await add_worker(connection, LATE)
        assert await rescue(connection) == []
        await hold_job(connection, tron, worker)
        assert await rescue(connection) == [("retrying", "its worker w1 died")]

    async def test_the_first_check_only_notes_it(self, connection: Connection, tron: Chain) -> None:
        await hold_job(connection, tron, await add_worker(connection, None))
        assert await rescue(connection) == []
        assert await rows(connection, "SELECT status, session_lost_at <= now() FROM worker_registry") == [
            ("running", True)
        ]

    async def test_it_may_be_connecting_again(self, connection: Connection, tron: Chain) -> None:
        await hold_job(connection, tron, await add_worker(connection, EARLY))
        assert await rescue(connection) == []

    async def test_it_is_back(self, connection: Connection, tron: Chain, database: str) -> None:
        """Also where the old session lingers, half-open: the lock is shared."""
        worker = await add_worker(connection, LATE)
        await hold_job(connection, tron, worker)
        async with session_of(worker, database), session_of(worker, database):
            assert await rescue(connection) == []

    async def test_it_has_been_heard_of_since(self, connection: Connection, tron: Chain) -> None:
        worker = await add_worker(connection, LATE)
        await hold_job(connection, tron, worker)
        await connection.execute("SELECT worker_heartbeat(%s, 'running', 'running', NULL, NULL, NULL)", [worker])
        assert await rescue(connection) == []

    async def test_never_one_whose_session_was_not_seen(self, connection: Connection, tron: Chain) -> None:
        """A process of an older version has none that could be missed."""
        worker = await add_worker(connection, None, seen=False)
        await hold_job(connection, tron, worker)
        await connection.execute("SELECT worker_heartbeat(%s, 'running', 'running', NULL, NULL, NULL)", [worker])
        assert await rescue(connection) == []
        assert await value(connection, "SELECT session_lost_at FROM worker_registry") is None

    async def test_sessions_of_other_databases_do_not_count(
        self, connection: Connection, tron: Chain, empty_database: str
    ) -> None:
        worker = await add_worker(connection, LATE)
        await hold_job(connection, tron, worker)
        key = await value(connection, "SELECT worker_session_key(%s)", worker)
        async with second_session(empty_database) as elsewhere:
            await elsewhere.execute("SELECT pg_advisory_lock_shared(%s)", [key])
            assert await rescue(connection) == [("retrying", "its worker w1 died")]

    async def test_called_dead_by_mistake_it_goes_on(self, connection: Connection, tron: Chain) -> None:
        worker = await add_worker(connection, LATE)
        await rescue(connection)
        await connection.execute("SELECT worker_heartbeat(%s, 'running', 'running', NULL, NULL, NULL)", [worker])
        assert await rows(connection, "SELECT status, session_lost_at FROM worker_registry") == [("running", None)]


class TestProcesses:
    async def test_what_a_killed_process_held_goes_on_elsewhere(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        script = Script()
        async with child(database, 600) as process:
            await flag(connection, wallet.id)
            assert (await read_line(process)).startswith("started")
            await session_seen(connection)
            async with running(executor(script), database):
                process.kill()
                killed = time.monotonic()
                await script.until_written(1)
        assert time.monotonic() - killed < RECOVERY_SECONDS
        (job,) = script.started
        assert (job.retry_count, job.data["history"][0]["error"]) == (1, await value(connection, RESCUED))

    async def test_a_frozen_process_keeps_what_it_holds(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        async with child(database, 600) as process:
            await flag(connection, wallet.id)
            assert (await read_line(process)).startswith("started")
            await session_seen(connection)
            process.send_signal(signal.SIGSTOP)
            assert await rescue(connection) == []
            assert await value(connection, "SELECT session_lost_at FROM worker_registry") is None

    async def test_while_it_cannot_listen_a_process_says_that_it_lives(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        async with running(executor(Script()), database) as runtime:
            await heartbeat(runtime)
            assert await value(connection, "SELECT session_seen FROM worker_registry")
            runtime.listener._dsn = "host=/nowhere"
            before = runtime.heartbeats
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'"
            )
            async with runtime.beaten, asyncio.timeout(PATIENCE):
                await runtime.beaten.wait_for(lambda: runtime.heartbeats >= before + 3)  # one is due in 30 s


RESCUED = "SELECT 'rescued: its worker ' || name || ' died' FROM worker_registry WHERE status = 'error'"


async def session_seen(connection: Connection) -> None:
    """Wait for the first heartbeat, which nothing signals."""
    async with asyncio.timeout(PATIENCE):
        while not await value(connection, "SELECT bool_and(session_seen) FROM worker_registry"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_a_dead_sync_had_locked_is_due_at_once(connection: Connection, tron: Chain, database: str) -> None:
    worker = await add_worker(connection, LATE)
    await add_wallets(connection, tron, 2)
    await connection.execute(
        """
        UPDATE wallet_balances SET processing_status = 'processing', locked_until = now() + interval '2 min',
            locked_by = CASE WHEN wallet_id = (SELECT id FROM wallets ORDER BY id LIMIT 1) THEN %s
                             ELSE 'somebody at psql' END
        """,
        [f"tron-sync-001:{worker}:tron:7"],
    )
    async with notifications_of(database, connection) as notifications:
        await rescue(connection)
        ((channel, payload),) = await notifications.received()
    assert (channel, payload["balances"]) == ("balance_due", 2)
    assert (
        await rows(
            connection, "SELECT processing_status, locked_by, next_check_at <= now() FROM wallet_balances ORDER BY 1, 2"
        )
        == [("idle", None, True)] * 2 + [("processing", "somebody at psql", False)] * 2
    )


class TestBounds:
    async def test_a_job_that_kills_every_worker_ends(self, connection: Connection, tron: Chain, database: str) -> None:
        """The second death in a row is followed by a wait, so that jobs which died beside it get away from it."""
        (wallet,) = await add_wallets(connection, tron, 1)
        await flag(connection, wallet.id)
        waits = []
        for _ in range(3):
            async with queue_of(database) as queue:
                await connection.execute("UPDATE job_logs SET run_at = now()")
                ((_job),) = await queue.enqueue_and_claim(executor(Script()).job_type, 1)
                await add_worker(connection, LATE, worker=queue.worker_id)
                await rescue(connection)
            waits.append(await value(connection, "SELECT run_at - updated_at FROM job_logs"))
        assert await rows(connection, "SELECT status, retry_count, data -> 'history_count' FROM job_logs") == [
            ("failed", 3, 3)
        ]
        assert waits[0] == timedelta(0)
        assert timedelta(seconds=2.5) <= waits[1] <= timedelta(seconds=5)

    @pytest.mark.parametrize("before", ["{}", '{"history": "by hand"}', '{"history_count": "many"}'])
    async def test_history_keeps_the_last_20(
        self, connection: Connection, tron: Chain, database: str, before: str
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        job = await new_job(connection, wallet, status="pending")
        await connection.execute("UPDATE job_logs SET max_retries = 100, data = %s WHERE id = %s", [before, job])
        async with queue_of(database) as queue:
            for number in range(25):
                await connection.execute("UPDATE job_logs SET run_at = now()")
                (claimed,) = await queue.claim(executor(Script()).job_type, 1)
                outcome = Retry(f"failure {number}") if number < 24 else Failed("failure 24")
                await queue.finish([(claimed, outcome)])
        data = await value(connection, "SELECT data FROM job_logs")
        assert [entry["error"] for entry in data["history"]] == [f"failure {number}" for number in range(5, 25)]
        assert data["history_count"] == 25


async def test_a_listener_holds_the_session_of_its_worker(connection: Connection, database: str) -> None:
    worker = uuid4()
    there = "SELECT worker_session_key(%s) = ANY (worker_sessions())"
    async with Listener(database, ["jobs"], name="test", worker_id=worker):
        assert await value(connection, there, worker)
        assert not await value(connection, there, uuid4())
