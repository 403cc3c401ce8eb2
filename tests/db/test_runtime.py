"""The life of a process: waiting, ready, paused, stopped; and what survives a lost database."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from loguru import logger

from pipeline.db.migrate import migrate
from pipeline.db.pool import Connection
from pipeline.queue.jobs import Done
from pipeline.settings import Settings
from pipeline.workers.runtime import Runtime
from tests.db.worker_kit import (
    PATIENCE,
    Door,
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
from tests.proxy import Proxy
from tests.seed import Chain, add_wallets

ROOT = Path(__file__).resolve().parents[2]


async def registry(connection: Connection) -> list[dict[str, object]]:
    return await rows(connection, "SELECT * FROM worker_registry ORDER BY created_at")


@asynccontextmanager
async def log_lines() -> AsyncIterator[asyncio.Queue[str]]:
    """What is logged meanwhile."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    sink = logger.add(lambda message: lines.put_nowait(str(message).rstrip()), format="{level} {message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


async def line_with(lines: asyncio.Queue[str], text: str) -> str:
    async with asyncio.timeout(PATIENCE):
        while text not in (line := await lines.get()):
            pass
    return line


async def test_register_heartbeat_and_deregister(connection: Connection, database: str, tron: Chain) -> None:
    async with running(executor(Script()), database) as runtime:
        (row,) = await registry(connection)
        assert (row["id"], row["incarnation"]) == ("all-gas-topup-001", runtime.registration.incarnation)
        assert (row["type"], row["status"], row["last_error"]) == ("gas-topup", "running", None)
        assert str(row["pid"]) in str(row["name"])
        await heartbeat(runtime)
        (later,) = await registry(connection)
        assert later["last_heartbeat"] > row["last_heartbeat"]
        assert later["stats"]["held"] == 0
        assert later["stats"]["listening"] is True
        await connection.execute("DELETE FROM worker_registry")
        await heartbeat(runtime)
        assert [row["incarnation"] for row in await registry(connection)] == [runtime.registration.incarnation]
    (row,) = await registry(connection)
    assert row["status"] == "stopped"


async def test_the_system_is_paused_and_resumes(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    script = Script()
    async with running(executor(script), database) as runtime, log_lines() as lines:
        await configure(connection, paused=True)
        await line_with(lines, "the system is paused")
        await flag(connection, wallet.id)
        await heartbeat(runtime)
        (row,) = await registry(connection)
        assert row["status"] == "paused"
        assert await jobs(connection) == []
        await configure(connection, paused=False)
        await script.until_written(1)
        await heartbeat(runtime)
        (row,) = await registry(connection)
        assert row["status"] == "running"


async def test_an_operator_pauses_one_worker(connection: Connection, database: str, tron: Chain) -> None:
    first, second = await add_wallets(connection, tron, 2)
    script = Script()
    async with running(executor(script), database) as runtime:
        await connection.execute("UPDATE worker_registry SET status = 'paused'")
        await heartbeat(runtime)
        assert runtime.paused
        await flag(connection, first.id)
        await heartbeat(runtime)
        (row,) = await registry(connection)
        assert (row["status"], await jobs(connection)) == ("paused", [])
        await connection.execute("UPDATE worker_registry SET status = 'running'")
        await heartbeat(runtime)
        await script.until_written(1)
        # What the sweep wrote about a silent worker is healed by its next heartbeat.
        await connection.execute("UPDATE worker_registry SET status = 'error', last_error = 'silent'")
        await heartbeat(runtime)
        (row,) = await registry(connection)
        assert row["status"] == "running"
        await flag(connection, second.id)
        await script.until_written(2)


async def test_what_is_held_is_finished_in_a_pause(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    go_on = asyncio.Event()

    async def answer(_: object) -> Done:
        await go_on.wait()
        return Done(clear_flag=True)

    script = Script(answer=answer)
    async with running(executor(script), database), log_lines() as lines:
        await flag(connection, wallet.id)
        await script.until_started(1)
        await configure(connection, paused=True)
        await line_with(lines, "the system is paused")
        go_on.set()
        await script.until_written(1)
    assert await statuses(connection) == {"completed": 1}


async def test_configuration_changes_while_it_runs(connection: Connection, database: str, tron: Chain) -> None:
    async with running(executor(Script()), database) as runtime, log_lines() as lines:
        await configure(connection, queue__concurrency=3)
        await heartbeat(runtime)
        assert runtime.config.queue.concurrency == 3
        await configure(connection, queue__concurrency="many")
        line = await line_with(lines, "queue.concurrency")
        assert "last good value stays" in line
        assert runtime.config.queue.concurrency == 3


async def test_no_database_at_the_start(connection: Connection, database: str, tron: Chain) -> None:
    async with Door(database) as proxy, log_lines() as lines:
        proxy.shut()
        runtime = Runtime(Settings(database_url=proxy.dsn), executor(Script()), start_retry_seconds=0.05)
        life = asyncio.create_task(runtime.run())
        line = await line_with(lines, "does not answer")
        assert line.startswith("WARNING database ")
        assert "retrying" in line
        assert not runtime.ready.is_set()
        proxy.open()
        async with asyncio.timeout(PATIENCE):
            await runtime.ready.wait()
        runtime.stop()
        await life


async def test_the_database_goes_away_before_the_configuration_is_read(
    connection: Connection, database: str, tron: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after it has registered: it waits, as it does a moment earlier or later, and does not end."""
    runtime = Runtime(Settings(database_url=database), executor(Script()))
    register = runtime.registration.register

    async def register_and_be_cut_off(*, any_slot: bool) -> bool:
        entered = await register(any_slot=any_slot)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return entered

    monkeypatch.setattr(runtime.registration, "register", register_and_be_cut_off)
    async with log_lines() as lines:
        life = asyncio.create_task(runtime.run())
        line = await line_with(lines, "reading the configuration")
        assert line.startswith("WARNING gas-topup")
        async with asyncio.timeout(PATIENCE):
            await runtime.ready.wait()
        runtime.stop()
        await life


async def test_no_schema_at_the_start(empty_database: str) -> None:
    async with log_lines() as lines:
        runtime = Runtime(Settings(database_url=empty_database), executor(Script()), start_retry_seconds=0.05)
        life = asyncio.create_task(runtime.run())
        assert "run flagpost migrate" in await line_with(lines, "has no Flagpost schema")
        await migrate(empty_database)
        async with asyncio.timeout(PATIENCE):
            await runtime.ready.wait()
        runtime.stop()
        await life


async def test_stopped_while_it_waits_for_the_database(empty_database: str) -> None:
    async with log_lines() as lines:
        runtime = Runtime(Settings(database_url=empty_database), executor(Script()), start_retry_seconds=3600)
        life = asyncio.create_task(runtime.run())
        await line_with(lines, "has no Flagpost schema")
        runtime.stop()
        async with asyncio.timeout(PATIENCE):
            await life


async def test_the_database_goes_away_in_the_middle(connection: Connection, database: str, tron: Chain) -> None:
    """A flag rises and a job ends while nothing answers: neither is lost, and no attempt is used up."""
    first, second = await add_wallets(connection, tron, 2)
    go_on = asyncio.Event()

    async def answer(_: object) -> Done:
        await go_on.wait()
        return Done(clear_flag=True)

    script = Script(answer=answer)
    async with Door(database) as proxy, running(executor(script), proxy.dsn) as runtime:
        await flag(connection, first.id)
        await script.until_started(1)
        proxy.shut()
        async with asyncio.timeout(PATIENCE):
            await runtime.listener.lost.wait()
        go_on.set()
        await flag(connection, second.id)
        proxy.open()
        await script.until_written(2)
    found = await jobs(connection)
    assert [(row["status"], row["retry_count"]) for row in found] == [("completed", 0)] * 2


async def test_every_backend_killed(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 3)
    script = Script()
    async with running(executor(script), database) as runtime:
        for count, wallet in enumerate(wallets, 1):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await flag(connection, wallet.id)
            await script.until_written(count)
        assert runtime.listener.reconnects >= 1
    assert await statuses(connection) == {"completed": 3}


async def test_a_handler_that_loses_the_database_uses_up_no_attempt(
    connection: Connection, database: str, tron: Chain
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)

    def answer(_: object) -> Done:
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    script = Script(answer=answer)
    async with running(executor(script), database):
        await flag(connection, wallet.id)
        await script.until_written(1)
    (row,) = await jobs(connection)
    assert (row["status"], row["retry_count"]) == ("pending", 0)
    assert "server closed the connection" in row["error_message"]


@asynccontextmanager
async def child(database: str, seconds: float) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real process, ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.db.child_worker", database, str(seconds), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await read_line(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def read_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        return (await process.stdout.readline()).decode().strip()


async def ended(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(PATIENCE):
        return await process.wait()


async def test_sigterm_finishes_what_is_held(connection: Connection, database: str, tron: Chain) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    async with child(database, 0.5) as process:
        await flag(connection, wallet.id)
        assert (await read_line(process)).startswith("started gas-topup-")
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0
    assert await statuses(connection) == {"completed": 1}
    (row,) = await registry(connection)
    assert row["status"] == "stopped"


async def test_sigterm_hands_back_what_takes_too_long(connection: Connection, database: str, tron: Chain) -> None:
    wallets = await add_wallets(connection, tron, 3)
    async with child(database, 600) as process:
        await flag(connection, *[wallet.id for wallet in wallets])
        assert (await read_line(process)).startswith("started")
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0
    found = await jobs(connection)
    assert [(row["status"], row["retry_count"], row["leased_by"]) for row in found] == [("pending", 0, None)] * 3


async def test_sigterm_is_obeyed_where_the_database_has_gone_silent(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Every session is half-open: the process is broken off, and does not wait for one answer after the other."""
    async with Proxy(database) as proxy, child(proxy.dsn, 0) as process:
        proxy.go_silent()
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 128 + signal.SIGTERM


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether the kernel has yet to deliver it to the process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    mask = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return mask is not None and bool(int(mask[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_is_immediate(
    connection: Connection, database: str, tron: Chain, second: signal.Signals, code: int
) -> None:
    (wallet,) = await add_wallets(connection, tron, 1)
    async with child(database, 600) as process:
        await flag(connection, wallet.id)
        assert (await read_line(process)).startswith("started")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):  # of two that wait, the lower number would be delivered first
            while is_pending(process.pid, signal.SIGTERM):  # noqa: ASYNC110 -- nothing signals it
                await asyncio.sleep(0.01)
            while process.returncode is None:  # until the first one was taken
                with contextlib.suppress(ProcessLookupError):
                    # Not send_signal: it may take the exit code away from who waits for it.
                    os.kill(process.pid, second)
                await asyncio.sleep(0.05)
        assert process.returncode == code
    assert await statuses(connection) == {"active": 1}, "it is rescued later"


async def test_a_role_that_may_not_is_told(connection: Connection, database: str, tron: Chain) -> None:
    """A worker whose loop meets a fault of ours ends with an error, and the registry shows it."""
    await connection.execute("REVOKE UPDATE ON job_logs FROM pipeline_executor")
    worker = executor(Script())
    runtime = Runtime(Settings(database_url=database), worker)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await runtime.run()
    (row,) = await registry(connection)
    assert row["status"] == "stopped"
    assert "permission denied for table job_logs" in str(row["last_error"])
