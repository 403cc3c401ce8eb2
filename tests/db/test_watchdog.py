"""What stands still and cannot say so: somebody waits for a lock, nobody leads."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from pipeline.db.pool import Connection
from pipeline.workers import watchdog
from pipeline.workers.runtime import Runtime
from tests.db.cli_kit import Shell
from tests.db.logins import login, login_name
from tests.db.sessions import rows, second_session, until_blocked
from tests.db.worker_kit import PATIENCE, Script, executor, heartbeat, running
from tests.seed import Chain

CHANGE = "UPDATE chains SET sync_interval = sync_interval + interval '1 s'"
LED = """
    INSERT INTO leaderships (name, holder, lease, until, taken_at, renewed_at)
    VALUES (%s, %s, 3, now() - %s::interval, now() - interval '1 day', now() - %s::interval - interval '30 seconds')
"""


class TestAProcessSays:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watchdog, "CHECK_SECONDS", 0.05)
        monkeypatch.setattr(watchdog, "BLOCKED_SECONDS", 0.05)

    async def test_for_whom_somebody_waits(self, connection: Connection, database: str, tron: Chain) -> None:
        """A person at psql has begun, changed something, and gone."""
        async with second_session(database) as person, second_session(database) as waiting:
            await person.execute("SET application_name = 'psql'")
            await person.execute("BEGIN")
            await person.execute(CHANGE)
            asking = asyncio.create_task(waiting.execute(CHANGE))
            await until_blocked(connection, waiting)
            async with running(executor(Script()), database, check_seconds=0.05) as runtime:
                said = await self.told(runtime)
                assert "has waited since " in said
                assert f"for a lock of session {person.info.backend_pid} (user postgres, application psql, " in said
                assert f"SELECT pg_terminate_backend({person.info.backend_pid})" in said
                await person.execute("ROLLBACK")
                await asking
                async with asyncio.timeout(PATIENCE):
                    while runtime.last_error is not None:
                        await heartbeat(runtime)
                await heartbeat(runtime)
                ((shown,),) = await rows(connection, "SELECT last_error FROM worker_registry")
                assert shown is None, "it is taken back when it is over"

    async def test_what_nobody_leads(self, connection: Connection, database: str, tron: Chain) -> None:
        await connection.execute(LED, ["confirmations tron", uuid4(), "61 s", "61 s"])
        async with running(executor(Script()), database, check_seconds=0.05) as runtime:
            said = await self.told(runtime)
        assert said.startswith("nobody has led confirmations tron since ")
        assert said.endswith("see that a process `flagpost confirmations` runs")

    @staticmethod
    async def told(runtime: Runtime) -> str:
        async with runtime.beaten, asyncio.timeout(PATIENCE):
            await runtime.beaten.wait_for(lambda: runtime.last_error is not None)
        return runtime.last_error or ""


class TestWhatIsNotLed:
    NAMES = "SELECT name FROM leaderships_without_leader('60 s')"

    @pytest.mark.parametrize(
        ("name", "ago", "holder", "missing"),
        [
            ("sweep", timedelta(seconds=61), True, True),
            ("sweep", timedelta(seconds=61), False, True),
            ("sweep", timedelta(seconds=59), True, False),
            ("sweep", -timedelta(seconds=20), True, False),
            ("confirmations tron", timedelta(seconds=61), True, True),
            ("confirmations gone", timedelta(seconds=61), True, False),
        ],
    )
    async def test_for_longer_than_a_takeover_takes(
        self, connection: Connection, tron: Chain, name: str, ago: timedelta, holder: bool, missing: bool
    ) -> None:
        await connection.execute(LED, [name, uuid4() if holder else None, ago, ago])
        assert await rows(connection, self.NAMES) == ([(name,)] if missing else [])

    async def test_not_of_a_chain_that_is_switched_off(self, connection: Connection, tron: Chain) -> None:
        await connection.execute(LED, ["confirmations tron", uuid4(), "2 min", "2 min"])
        await connection.execute("UPDATE chains SET is_active = false")
        assert await rows(connection, self.NAMES) == []

    async def test_by_a_lease_that_a_wrong_clock_gave(self, connection: Connection, tron: Chain) -> None:
        await connection.execute(LED, ["sweep", uuid4(), "-400 days", "2 min"])
        assert await rows(connection, self.NAMES) == [("sweep",)]


class TestDoctor:
    @staticmethod
    async def found(shell: Shell) -> dict[str, tuple[str, str, str]]:
        answer = await asyncio.to_thread(shell, "doctor", "--json")
        return {check["check"]: (check["level"], check["message"], check["todo"]) for check in answer.json["checks"]}

    async def test_who_holds_locks_of_ours(self, shell: Shell, connection: Connection, database: str) -> None:
        with login(database, "foreign") as dsn:
            async with second_session(dsn) as foreign:
                await foreign.execute("SELECT pg_advisory_lock(hashtextextended('flagpost: wallet_flags waiting', 0))")
                pid = foreign.info.backend_pid
                level, message, todo = (await self.found(shell))["locks.foreign"]
        assert level == "warn"
        assert f"session {pid} (user {login_name('foreign')}, " in message
        assert "holds the lock of who needs wallet_flags (waiting)" in message
        assert f"SELECT pg_terminate_backend({pid})" in todo

    async def test_who_takes_more_locks_than_anybody_needs(
        self, shell: Shell, connection: Connection, database: str
    ) -> None:
        with login(database, "foreign") as dsn:
            async with second_session(dsn) as foreign:
                await foreign.execute("SELECT count(pg_advisory_lock(n)) FROM generate_series(1, 1500) AS n")
                level, message, _ = (await self.found(shell))["locks.foreign"]
        assert (level, "holds 1501 locks" in message or "holds 1500 locks" in message) == ("warn", True)

    async def test_who_keeps_ours_waiting(
        self, shell: Shell, connection: Connection, database: str, tron: Chain
    ) -> None:
        shell.env.setattr("pipeline.admin.checks.locks.BLOCKED_SECONDS", 0.0)
        async with second_session(database) as person, second_session(database) as waiting:
            pid = person.info.backend_pid
            await person.execute("BEGIN")
            await person.execute(CHANGE)
            asking = asyncio.create_task(waiting.execute(CHANGE))
            await until_blocked(connection, waiting)
            level, message, todo = (await self.found(shell))["locks.blocked"]
            await person.execute("COMMIT")
            await asking
        assert (level, f"for a lock of session {pid} (user " in message) == ("fail", True)
        assert f"SELECT pg_terminate_backend({pid})" in todo

    async def test_what_nobody_leads_while_any_process_lives(
        self, shell: Shell, connection: Connection, tron: Chain
    ) -> None:
        await connection.execute(LED, ["confirmations tron", None, "2 min", "2 min"])
        assert "leaders" not in await self.found(shell), "nothing runs, and doctor says so otherwise"
        await connection.execute(
            "INSERT INTO worker_registry (id, name, type) VALUES ('all-gas-topup-001', 'w1', 'gas-topup')"
        )
        level, message, todo = (await self.found(shell))["leaders"]
        assert (level, todo) == ("fail", "start one: flagpost confirmations")
        assert message.startswith("nobody has led confirmations tron since ")

    async def test_nothing_where_nothing_is_wrong(self, shell: Shell, connection: Connection, tron: Chain) -> None:
        found = await self.found(shell)
        assert found["locks.foreign"][0] == found["locks.blocked"][0] == found["database.rights"][0] == "ok"
        assert not {"leaders", "database.notifications"} & found.keys()
