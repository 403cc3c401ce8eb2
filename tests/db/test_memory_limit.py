"""The limit of a process's memory: what outlives the process, and who sees that restarts do not help."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection
from pipeline.queue.jobs import Done
from pipeline.settings import Settings
from pipeline.workers.memory import MemoryLimit
from pipeline.workers.runtime import Runtime
from pipeline.workers.sync import Sync
from tests.db.sessions import rows, value
from tests.db.test_registry import heartbeat, register, worker
from tests.db.test_worker_commands import ended_by_itself
from tests.db.worker_kit import PATIENCE, Script, configure, executor, flag, running, until_count
from tests.db.worker_kit import heartbeat as beat
from tests.seed import Chain, add_wallets

SLOT = "all-gas-topup-001"
RESTARTS = "SELECT id, (stats ->> 'memory_restarts')::integer FROM worker_registry"
SAID = (
    "restarts in a row that did not bring its memory below workers.memory_limit_mb (200): {}; "
    "raise it: flagpost config set workers.memory_limit_mb 400"
)


def has_300_mb(runtime: Runtime, *, settling_seconds: float = 0.0) -> None:
    """From now on, whatever it really has."""
    runtime.commands.memory = MemoryLimit(resident=lambda: 300_000_000, settling_seconds=settling_seconds)


class TestAProcessAboveTheLimit:
    async def test_hands_back_and_begins_anew_and_its_slot_counts(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        await configure(connection, workers__memory_limit_mb=200)
        for restarts in (1, 2, 3):
            async with running(executor(Script()), database) as runtime, ended_by_itself(runtime):
                has_300_mb(runtime)
                runtime.beat()
            assert runtime.begins_anew
            assert await rows(connection, RESTARTS) == [(SLOT, restarts)]
        async with running(executor(Script()), database) as runtime:
            has_300_mb(runtime, settling_seconds=60.0)
            await beat(runtime)
            assert await value(connection, "SELECT last_error FROM worker_registry") == SAID.format(3)
            assert not runtime.stopping.is_set()

    async def test_counts_before_it_has_handed_back(self, connection: Connection, database: str, tron: Chain) -> None:
        """It may be killed before its end."""
        await configure(connection, workers__memory_limit_mb=200)
        (wallet,) = await add_wallets(connection, tron, 1)
        go_on = asyncio.Event()

        async def answer(_: object) -> Done:
            await go_on.wait()
            return Done(clear_flag=True)

        script = Script(answer=answer)
        async with running(executor(script), database, grace_seconds=PATIENCE) as runtime:
            await flag(connection, wallet.id)
            await script.until_started(1)
            has_300_mb(runtime)
            runtime.beat()
            await until_count(
                connection, "SELECT count(*) FROM worker_registry WHERE stats @> '{\"memory_restarts\": 1}'", 1
            )
            assert await value(connection, "SELECT status FROM worker_registry") == "running"
            go_on.set()

    async def test_counts_under_an_agent_too(self, connection: Connection, database: str, tron: Chain) -> None:
        """Where the next process of the slot has none of the last one's environment."""
        await configure(connection, workers__memory_limit_mb=200)
        settings = Settings(database_url=database, slot=SLOT, managed_by="here")
        for restarts in (1, 2):
            runtime = Runtime(settings, executor(Script()), grace_seconds=1.0)
            has_300_mb(runtime)
            async with asyncio.timeout(PATIENCE):
                await runtime.run()
            assert await rows(connection, RESTARTS) == [(SLOT, restarts)]

    async def test_counts_in_a_role_that_may_not_read_the_registry(self, connection: Connection, database: str) -> None:
        """Without a chain, so that nothing is read."""
        await configure(connection, workers__memory_limit_mb=200)
        await register(connection, worker("sync"))
        await connection.execute(
            "UPDATE worker_registry SET status = 'stopped', stats = %s", [Jsonb({"memory_restarts": 2, "read": 7})]
        )
        async with running(Sync(lambda row: pytest.fail(row.name)), database) as runtime, ended_by_itself(runtime):
            has_300_mb(runtime)
            runtime.beat()
        assert await rows(connection, RESTARTS) == [("all-sync-001", 3)]

    async def test_begins_its_row_of_restarts_anew_after_an_hour_below(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        await register(connection, worker("gas-topup"))
        await connection.execute(
            "UPDATE worker_registry SET status = 'stopped', stats = %s", [Jsonb({"memory_restarts": 5})]
        )
        now = 0.0
        async with running(executor(Script()), database) as runtime:
            runtime.commands.memory = MemoryLimit(resident=lambda: 100_000_000, clock=lambda: now)
            await beat(runtime)
            assert await rows(connection, RESTARTS) == [(SLOT, 5)]
            now = 3600.0
            await beat(runtime)
            await beat(runtime)
            assert await rows(connection, RESTARTS) == [(SLOT, 0)]


@pytest.fixture
async def alive(connection: Connection) -> Mapping[str, Any]:
    return await register(connection, worker("gas-topup"))


class TestHealth:
    async def test_says_that_restarts_did_not_help_and_what_does(
        self, connection: Connection, alive: Mapping[str, Any]
    ) -> None:
        await heartbeat(connection, alive, stats=Jsonb({"memory_bytes": 501_000_000, "memory_restarts": 3}))
        wrong = "501 MB, workers.memory_limit_mb is 500, restarts in a row that did not help: 3"
        assert await value(connection, "SELECT memory FROM worker_health()") == wrong
        assert await value(connection, "SELECT reasons FROM system_health()") == [
            f"{SLOT}: {wrong}: raise it: flagpost config set workers.memory_limit_mb MEGABYTES"
        ]

    async def test_says_nothing_once_they_helped(self, connection: Connection, alive: Mapping[str, Any]) -> None:
        await heartbeat(connection, alive, stats=Jsonb({"memory_bytes": 499_000_000, "memory_restarts": 3}))
        assert await value(connection, "SELECT memory FROM worker_health()") is None

    async def test_judges_by_the_default_where_no_process_takes_the_value(
        self, connection: Connection, alive: Mapping[str, Any]
    ) -> None:
        await connection.execute("SELECT set_system_config('workers.memory_limit_mb', '50')")
        await heartbeat(connection, alive, stats=Jsonb({"memory_bytes": 499_000_000}))
        assert await value(connection, "SELECT memory FROM worker_health()") is None
        await connection.execute("SELECT set_system_config('workers.memory_limit_mb', '200')")
        assert await value(connection, "SELECT memory FROM worker_health()") == "499 MB, workers.memory_limit_mb is 200"
