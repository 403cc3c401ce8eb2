"""What operators tell workers: which commands a worker takes, when it obeys, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.queue.jobs import Done
from pipeline.workers.runtime import Runtime
from tests.db.money import new_transfer
from tests.db.sessions import rows, value
from tests.db.test_registry import heartbeat, register, worker
from tests.db.worker_kit import PATIENCE, Script, configure, executor, flag, running, statuses
from tests.seed import Chain, add_wallets

SLOT = "all-gas-topup-001"
ROW = "SELECT status, desired, generation, observed_generation FROM worker_registry WHERE id = %s"


async def tell(connection: Connection, action: str, slot: str = SLOT, **options: Any) -> tuple[Any, ...]:
    """What the function answers."""
    (row,) = await rows(
        connection,
        "SELECT status, desired, generation, observed_generation FROM control_worker(%s, %s, %s)",
        slot,
        action,
        options.get("anyway", False),
    )
    return row


async def until_row(connection: Connection, slot: str = SLOT, **wanted: Any) -> None:
    """Until the row of the slot has these values."""
    columns = ", ".join(wanted)
    async with asyncio.timeout(PATIENCE):
        query = f"SELECT {columns} FROM worker_registry WHERE id = %s"  # noqa: S608
        while await rows(connection, query, slot) != [tuple(wanted.values())]:  # noqa: ASYNC110 -- nothing signals it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def ended_by_itself(runtime: Runtime) -> AsyncIterator[None]:
    yield
    async with asyncio.timeout(PATIENCE):
        await runtime.stopping.wait()


async def refusal(connection: Connection, action: str, slot: str = SLOT) -> tuple[str | None, str, str]:
    """SQLSTATE, message and hint."""
    with pytest.raises(psycopg.Error) as error:
        await tell(connection, action, slot)
    return error.value.sqlstate, error.value.diag.message_primary or "", error.value.diag.message_hint or ""


class TestAWorker:
    async def test_pauses_and_resumes(self, connection: Connection, database: str, tron: Chain) -> None:
        first, second = await add_wallets(connection, tron, 2)
        script = Script()
        async with running(executor(script), database):
            assert await tell(connection, "pause") == ("running", "paused", 1, 0)
            await until_row(connection, status="paused", observed_generation=1)
            await flag(connection, first.id)
            assert await tell(connection, "pause") == ("paused", "paused", 1, 1), "told twice, nothing changes"
            await tell(connection, "resume")
            await script.until_written(1)
            await until_row(connection, status="running", observed_generation=2)
            await flag(connection, second.id)
            await script.until_written(2)
        assert script.started[0].wallet_id == first.id

    async def test_finishes_what_it_holds_in_a_pause(self, connection: Connection, database: str, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        go_on = asyncio.Event()

        async def answer(_: object) -> Done:
            await go_on.wait()
            return Done(clear_flag=True)

        script = Script(answer=answer)
        async with running(executor(script), database):
            await flag(connection, wallet.id)
            await script.until_started(1)
            await tell(connection, "pause")
            await until_row(connection, status="paused")
            go_on.set()
            await script.until_written(1)
        assert await statuses(connection) == {"completed": 1}

    async def test_hands_back_and_begins_anew_when_it_is_stopped(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        """Anew, so that the next life of the process finds that it is stopped before it begins to work."""
        (wallet,) = await add_wallets(connection, tron, 1)
        script = Script(answer=lambda _: asyncio.Event().wait())  # type: ignore[arg-type,return-value]
        async with running(executor(script), database) as runtime, ended_by_itself(runtime):
            await flag(connection, wallet.id)
            await script.until_started(1)
            await tell(connection, "stop")
        assert runtime.begins_anew
        assert await statuses(connection) == {"pending": 1}
        assert await rows(connection, "SELECT leased_by FROM job_logs") == [(None,)]
        assert await rows(connection, ROW, SLOT) == [("stopped", "stopped", 1, 1)]

    async def test_parks_in_a_slot_that_is_stopped_until_it_is_started(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        script = Script()
        async with running(executor(script), database) as first, ended_by_itself(first):
            await tell(connection, "stop")
        second = Runtime(first.settings, executor(script), grace_seconds=1.0)
        life = asyncio.create_task(second.run())
        try:
            mine = second.registration.incarnation
            await until_row(connection, incarnation=mine, status="stopped", observed_generation=1, ended_at=None)
            assert second.registration.slot == SLOT
            assert second.listener.listening.is_set()
            await flag(connection, wallet.id)
            beats = second.heartbeats
            second.beat()
            async with second.beaten, asyncio.timeout(PATIENCE):
                await second.beaten.wait_for(lambda: second.heartbeats > beats)
            assert (script.started, second.ready.is_set()) == ([], False)
            await tell(connection, "start")
            await script.until_written(1)
            await until_row(connection, status="running", observed_generation=2)
        finally:
            second.stop()
            await life

    async def test_that_is_parked_ends_at_a_signal(self, connection: Connection, database: str, tron: Chain) -> None:
        async with running(executor(Script()), database) as first, ended_by_itself(first):
            await tell(connection, "stop")
        second = Runtime(first.settings, executor(Script()))
        life = asyncio.create_task(second.run())
        mine = second.registration.incarnation
        await until_row(connection, incarnation=mine, status="stopped", observed_generation=1, ended_at=None)
        second.stop()
        async with asyncio.timeout(PATIENCE):
            await life
        assert not second.begins_anew
        assert await value(connection, "SELECT ended_at IS NOT NULL FROM worker_registry")

    async def test_restarts_once(self, connection: Connection, database: str, tron: Chain) -> None:
        async with running(executor(Script()), database) as first, ended_by_itself(first):
            assert await tell(connection, "restart") == ("running", "running", 1, 0)
        assert first.begins_anew
        async with running(executor(Script()), database) as second:
            assert not second.registration.restart_due
            await until_row(connection, status="running", observed_generation=1)
            assert not second.stopping.is_set()

    async def test_that_is_paused_is_paused_after_a_restart(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        async with running(executor(Script()), database) as first, ended_by_itself(first):
            await tell(connection, "pause")
            await until_row(connection, status="paused")
            await tell(connection, "restart")
        async with running(executor(Script()), database) as second:
            await until_row(connection, status="paused", observed_generation=2)
            assert second.paused
            assert not second.stopping.is_set()

    async def test_keeps_its_orders_when_it_loses_its_slot(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        """Paused, cut off, and its slot given to another process: it goes on in a slot of its own, paused."""
        async with running(executor(Script()), database, command_seconds=0.05) as runtime:
            await tell(connection, "pause")
            await until_row(connection, status="paused")
            await connection.execute("UPDATE worker_registry SET incarnation = gen_random_uuid(), desired = 'running'")
            await until_row(connection, "all-gas-topup-002", desired="paused", status="paused")
            assert runtime.paused


class TestWhereNoNotifyArrives:
    async def test_a_pause_does(self, connection: Connection, database: str, tron: Chain) -> None:
        async with running(executor(Script()), database, lossy=True, command_seconds=0.05) as runtime:
            await tell(connection, "pause")
            await until_row(connection, status="paused")
            await tell(connection, "resume")
            await until_row(connection, status="running")
            await configure(connection, paused=True)
            await until_row(connection, status="paused")
            assert runtime.config.paused

    async def test_a_pause_is_committed_and_obeyed_while_the_notification_queue_is_full(
        self, connection: Connection, database: str, tron: Chain
    ) -> None:
        """By the function that says so: to fill the queue itself takes gigabytes."""
        async with running(executor(Script()), database, command_seconds=0.05):
            await connection.execute(
                "CREATE OR REPLACE FUNCTION notify_is_suppressed(p_usage double precision) RETURNS boolean"
                " LANGUAGE sql IMMUTABLE AS 'SELECT true'"
            )
            await tell(connection, "pause")
            await until_row(connection, status="paused", observed_generation=1)


class TestInPsql:
    async def test_a_status_is_a_command(self, connection: Connection, database: str, tron: Chain) -> None:
        """As the runbooks have it."""
        async with running(executor(Script()), database):
            await connection.execute("UPDATE worker_registry SET status = 'paused' WHERE id = %s", [SLOT])
            await until_row(connection, desired="paused", observed_generation=1)
            await connection.execute("UPDATE worker_registry SET desired = 'running' WHERE id = %s", [SLOT])
            await until_row(connection, status="running", observed_generation=2)

    @pytest.mark.parametrize("seen", [True, False])
    async def test_a_row_without_a_process_is_told_nothing_by_its_status(
        self, connection: Connection, seen: bool
    ) -> None:
        """Somebody tidies up after a process that was killed, before its first heartbeat or later; the next process of
        the slot works."""
        await register(connection, worker("gas-topup"))
        await connection.execute("UPDATE worker_registry SET session_seen = %s", [seen])
        await connection.execute("UPDATE worker_registry SET status = 'stopped'")
        assert await rows(connection, ROW, SLOT) == [("stopped", "running", 0, 0)]

    async def test_running_starts_what_an_agent_is_to_run(
        self, connection: Connection, dead: Mapping[str, Any]
    ) -> None:
        slot = "bsc+tron-gas-topup-001"
        await tell(connection, "stop", slot)
        await connection.execute("UPDATE worker_registry SET status = 'running' WHERE id = %s", [slot])
        assert await rows(connection, ROW, slot) == [("running", "stopped", 1, 1)], "nobody starts it"
        await connection.execute(
            "UPDATE worker_registry SET status = 'stopped', managed_by = 'here' WHERE id = %s", [slot]
        )
        await register(connection, worker("host", host="here", name="host@here:1"))
        await connection.execute("UPDATE worker_registry SET status = 'running' WHERE id = %s", [slot])
        assert await rows(connection, ROW, slot) == [("stopped", "running", 2, 1)]

    @pytest.mark.parametrize("column", ["status", "desired"])
    async def test_the_last_one_that_follows_payments_is_not_stopped(
        self, connection: Connection, database: str, tron: Chain, column: str
    ) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet, state="broadcasting")
        await register(connection, worker("confirmations"))
        of = await register(connection, worker("gas-topup"))
        with pytest.raises(psycopg.Error) as error:
            await connection.execute("UPDATE worker_registry SET desired = 'stopped'")
        assert error.value.sqlstate == "FP019"
        assert "control_worker('all-confirmations-001', 'stop', anyway => true)" in str(error.value.diag.message_detail)
        assert (await tell(connection, "stop", "all-confirmations-001", anyway=True))[1] == "stopped"
        await tell(connection, "start", "all-confirmations-001")
        await connection.execute(f"UPDATE worker_registry SET {column} = 'paused'")  # noqa: S608
        told = "SELECT bool_and(desired = 'paused') FROM worker_registry"
        assert await value(connection, told), "all at once, in a hurry"
        assert await heartbeat(connection, of) == "paused"

    async def test_each_command_is_in_the_trail(self, connection: Connection, database: str, tron: Chain) -> None:
        async with running(executor(Script()), database) as runtime, ended_by_itself(runtime):
            await tell(connection, "pause")
            await until_row(connection, status="paused")
            await connection.execute("UPDATE worker_registry SET status = 'running' WHERE id = %s", [SLOT])
            await tell(connection, "restart")
        trail = await rows(
            connection,
            "SELECT action_type, target_id, target_type FROM admin_actions WHERE action_type LIKE 'worker.%'"
            " ORDER BY created_at, id",
        )
        assert trail == [(f"worker.{action}", SLOT, "worker") for action in ("pause", "resume", "restart")]

    async def test_what_others_say_of_a_silent_process_is_none(self, connection: Connection) -> None:
        of = await register(connection, worker("gas-topup"))
        await connection.execute("UPDATE worker_registry SET last_heartbeat = now() - interval '2 minutes'")
        await connection.execute("SELECT mark_silent_workers('60 s')")
        assert await rows(connection, ROW, SLOT) == [("error", "running", 0, 0)]
        assert await heartbeat(connection, of) == "running"
        assert await rows(connection, ROW, SLOT) == [("running", "running", 0, 0)]


@pytest.fixture
async def dead(connection: Connection) -> Mapping[str, Any]:
    """Its process is gone."""
    of = await register(connection, worker("gas-topup", blockchain="tron,bsc", host="here"))
    await connection.execute("UPDATE worker_registry SET last_heartbeat = now() - interval '2 minutes'")
    return of


class TestIsRefused:
    async def test_where_nobody_can_obey(self, connection: Connection, dead: Mapping[str, Any]) -> None:
        slot = "bsc+tron-gas-topup-001"
        for action in ("pause", "resume", "start", "restart"):
            assert await refusal(connection, action, slot) == (
                "FP003",
                f"no process has the slot {slot}, and no agent starts one",
                "On host here: flagpost gas-topup --chain tron --chain bsc",
            )
        assert await rows(connection, "SELECT FROM admin_actions WHERE action_type LIKE 'worker.%'") == []

    async def test_but_a_stop_of_one_that_is_gone_is_taken(
        self, connection: Connection, dead: Mapping[str, Any]
    ) -> None:
        """So that nobody waits for it any more; its next process parks."""
        await connection.execute("SELECT mark_silent_workers('60 s')")
        assert await value(connection, "SELECT health FROM system_health()") == "Degraded"
        assert await tell(connection, "stop", "bsc+tron-gas-topup-001") == ("stopped", "stopped", 1, 1)
        assert await value(connection, "SELECT health FROM system_health()") == "Healthy"

    async def test_not_where_an_agent_starts_it(self, connection: Connection, dead: Mapping[str, Any]) -> None:
        await register(connection, worker("host", host="here", name="host@here:1"))
        await connection.execute("UPDATE worker_registry SET managed_by = 'here' WHERE type = 'gas-topup'")
        assert (await tell(connection, "stop", "bsc+tron-gas-topup-001"))[1] == "stopped"
        assert (await tell(connection, "start", "bsc+tron-gas-topup-001"))[1] == "running"

    async def test_where_an_agent_has_fewer_or_was_told_to_stop(
        self, connection: Connection, dead: Mapping[str, Any]
    ) -> None:
        slot = "bsc+tron-gas-topup-001"
        await register(connection, worker("host", host="here", name="host@here:1"))
        await connection.execute(
            """UPDATE worker_registry SET config = '{"lines": ["bsc+tron-gas-topup"]}' WHERE type = 'host'"""
        )
        assert (await refusal(connection, "start", slot))[2] == (
            "An agent starts one where there shall be more of them:"
            " flagpost workers scale gas-topup NUMBER --chain tron --chain bsc"
        )
        await connection.execute("UPDATE worker_registry SET managed_by = 'here' WHERE type = 'gas-topup'")
        await tell(connection, "stop", "all-host-001")
        assert (await refusal(connection, "start", slot))[1:] == (
            f"no process has the slot {slot}, and the agent of host here was told to stop",
            "Start that: flagpost workers start all-host-001",
        )

    async def test_an_unknown_one(self, connection: Connection) -> None:
        assert (await refusal(connection, "pause", "nobody"))[:2] == ("P0002", "no such worker: nobody")
        assert (await refusal(connection, "kill", "nobody"))[:2] == ("22023", "no such action: kill")

    async def test_of_one_that_is_stopped(self, connection: Connection) -> None:
        await register(connection, worker("gas-topup"))
        await tell(connection, "stop")
        assert (await refusal(connection, "pause"))[:2] == ("FP003", f"{SLOT} is stopped")

    async def test_of_one_of_the_version_before(self, connection: Connection) -> None:
        await connection.execute(
            "SELECT register_worker(gen_random_uuid(), 'w', 'gas-topup', NULL, 7, 'h', NULL, '{}', 'secret')"
        )
        assert (await refusal(connection, "stop"))[:2] == (
            "FP003",
            f"{SLOT} is of a version that obeys pause and resume only",
        )
        assert await tell(connection, "pause") == ("paused", "paused", 1, None)
        beat = "SELECT worker_heartbeat(incarnation, 'running', 'running', NULL, NULL, 'secret') FROM worker_registry"
        assert await value(connection, beat) == "paused"
        assert (await tell(connection, "resume"))[:2] == ("running", "running")

    async def test_of_the_last_one_that_follows_payments(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet, state="broadcasting")
        await register(connection, worker("confirmations"))
        slot = "all-confirmations-001"
        for action in ("stop", "pause"):
            assert (await refusal(connection, action, slot))[:2] == (
                "FP019",
                f"{slot} is the last worker that follows payments, and 1 are out",
            )
        assert (await refusal(connection, "pause", slot))[2].endswith(f"flagpost workers resume {slot}")
        assert (await refusal(connection, "stop", slot))[2].endswith(f"flagpost workers start {slot}")
        await register(connection, worker("confirmations", blockchain="bsc"))
        assert (await refusal(connection, "pause", slot))[0] == "FP019", "another chain's does not follow them"
        await register(connection, worker("confirmations", blockchain="tron"))
        assert (await tell(connection, "pause", slot))[1] == "paused"
        assert (await refusal(connection, "stop", "tron-confirmations-001"))[0] == "FP019"
        assert (await tell(connection, "stop", "tron-confirmations-001", anyway=True))[1] == "stopped"

    async def test_of_an_agent_whose_host_has_the_last_one(self, connection: Connection, tron: Chain) -> None:
        (wallet,) = await add_wallets(connection, tron, 1)
        await new_transfer(connection, tron, wallet, state="broadcasting")
        await register(connection, worker("host", host="here", name="host@here:1"))
        await register(connection, worker("confirmations", host="here", managed_by="here"))
        assert (await refusal(connection, "stop", "all-host-001"))[0] == "FP019"
        await register(connection, worker("confirmations", host="there", managed_by="there"))
        assert (await tell(connection, "stop", "all-host-001"))[1] == "stopped"
