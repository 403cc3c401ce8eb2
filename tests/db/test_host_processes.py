"""Which real processes an agent ends: those that hang, but none because the database was away, nor because a login of
another type says so. And that its own memory ends none.
"""

import asyncio
import contextlib
import io
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.db.pool import Connection
from pipeline.scaling.agent import TAKE_SECONDS, HostAgent
from pipeline.scaling.hung import HungAfter
from pipeline.scaling.lines import WorkerLine
from pipeline.scaling.output import Output
from pipeline.workers.memory import MemoryLimit
from tests.db.sessions import rows
from tests.db.test_registry import register, worker
from tests.db.worker_kit import Door, configure, heartbeat, running
from tests.patience import PATIENCE

SYNC = WorkerLine("sync", "sync", "", ("flagpost", "sync"))
SLOT = "all-sync-001"
SOON = HungAfter(restart=2.0, silent=6.0)
NEVER = 1e6
KILL_SECONDS = 1.0


@dataclass
class OneHost:
    connection: Connection
    agent: HostAgent
    said: io.StringIO

    async def pid(self) -> int | None:
        """Of the process that works in the slot."""
        found = await rows(
            self.connection,
            "SELECT pid FROM worker_registry w WHERE id = %s AND status = 'running' AND has_process(w)",
            SLOT,
        )
        return found[0][0] if found else None

    async def until_working(self, *, but: int | None = None) -> int:
        """The process that works in the slot, another one than ``but``."""
        async with asyncio.timeout(PATIENCE):
            while (pid := await self.pid()) in (None, but):  # noqa: ASYNC110 -- nothing signals it
                await asyncio.sleep(0.05)
        assert pid is not None
        return pid

    async def until_heard(self, slot: str) -> None:
        """A heartbeat from now on."""
        (now,) = await rows(self.connection, "SELECT clock_timestamp()")
        query = "SELECT id FROM worker_registry WHERE id = %s AND last_heartbeat > %s"
        async with asyncio.timeout(PATIENCE):
            while not await rows(self.connection, query, slot, *now):  # noqa: ASYNC110 -- nothing signals it
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def one_host(connection: Connection, dsn: str, home: Path, after: HungAfter) -> AsyncIterator[OneHost]:
    await configure(connection, heartbeat_seconds=0.5)
    said = io.StringIO()
    environment = {"DATABASE_URL": dsn, "FLAGPOST_HOME": str(home), "FLAGPOST_ENV_FILE": os.devnull}
    agent = HostAgent([SYNC], [], Output(said), environment, hung_after=after, kill_seconds=KILL_SECONDS)
    async with running(agent, dsn, grace_seconds=5.0):
        yield OneHost(connection, agent, said)


async def test_a_frozen_one_that_is_told_to_restart_is_replaced(
    connection: Connection, database: str, home: Path
) -> None:
    async with one_host(connection, database, home, HungAfter(restart=2.0, silent=NEVER)) as host:
        frozen = await host.until_working()
        os.kill(frozen, signal.SIGSTOP)
        await connection.execute("SELECT control_worker(%s, 'restart')", [SLOT])
        again = await host.until_working(but=frozen)
        with pytest.raises(ProcessLookupError):
            os.kill(frozen, 0)
        (told,) = await rows(
            connection,
            "SELECT restart_generation, observed_generation, pid, id FROM worker_registry WHERE type = 'sync'",
        )
        assert told == (1, 1, again, SLOT), "obeyed, in the same slot"
        assert (host.agent.stats()["started"], host.agent.stats()["ended"]) == (2, 1)


async def test_a_frozen_one_is_replaced_by_itself(connection: Connection, database: str, home: Path) -> None:
    async with one_host(connection, database, home, SOON) as host:
        frozen = await host.until_working()
        os.kill(frozen, signal.SIGSTOP)
        again = await host.until_working(but=frozen)
        await asyncio.sleep(SOON.silent + 2)
        assert await host.until_working() == again, "it says something"


async def test_one_that_restarts_as_it_was_told_is_left_alone(
    connection: Connection, database: str, home: Path
) -> None:
    async with one_host(connection, database, home, HungAfter(restart=NEVER, silent=SOON.silent)) as host:
        before = await host.until_working()
        await connection.execute("SELECT control_worker(%s, 'restart')", [SLOT])
        await host.until_working(but=before)
        assert (host.agent.stats()["started"], host.agent.stats()["ended"]) == (2, 0)


async def test_after_an_outage_of_the_database_each_has_the_whole_time_again(
    connection: Connection, database: str, home: Path
) -> None:
    """The worker is slower than its agent to find the database again."""
    after = HungAfter(silent=8.0)
    async with Door(database) as door, one_host(connection, door.dsn, home, after) as host:
        before = await host.until_working()
        os.kill(before, signal.SIGSTOP)
        await asyncio.sleep(TAKE_SECONDS + 0.5)  # the agent sees its last heartbeat
        door.shut()
        await asyncio.sleep(after.silent + 1)
        door.open()
        await host.until_heard("all-host-001")
        await asyncio.sleep(TAKE_SECONDS + KILL_SECONDS + 0.5)
        os.kill(before, signal.SIGCONT)
        await host.until_heard(SLOT)
        await asyncio.sleep(after.silent + 1)
        assert await host.until_working() == before
        assert host.agent.stats()["started"] == 1


async def test_nobody_of_another_type_has_one_ended(connection: Connection, database: str, home: Path) -> None:
    """A login registers a process with that pid, in a slot that the agent is to give back, before the process itself
    has registered in its own."""
    async with one_host(connection, database, home, HungAfter()) as host:
        before = await host.until_working()
        await register(connection, worker("deposits", pid=before))
        await connection.execute(
            "UPDATE worker_registry w SET managed_by = a.host FROM worker_registry a"
            " WHERE w.type = 'deposits' AND a.type = 'host'"
        )
        await connection.execute("UPDATE worker_registry SET pid = NULL WHERE id = %s", [SLOT])
        await asyncio.sleep(2 * TAKE_SECONDS)
        os.kill(before, 0)
        assert host.agent.stats()["started"] == 1


async def test_an_agent_above_the_limit_of_memory_goes_on(connection: Connection, database: str) -> None:
    """All workers of its host would begin anew with it."""
    await configure(connection, workers__memory_limit_mb=200)
    async with running(HostAgent([], [], Output(io.StringIO())), database) as runtime:
        runtime.commands.memory = MemoryLimit(resident=lambda: 300_000_000, settling_seconds=0.0)
        await heartbeat(runtime)
        assert not runtime.stopping.is_set()
        assert not await rows(connection, "SELECT last_error FROM worker_registry WHERE last_error IS NOT NULL")
