"""A process that begins after another one was killed is told what that one was told, whichever slot it gets."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.sessions import rows, second_session, until_blocked, value
from tests.db.test_host_agents import Host
from tests.db.test_registry import heartbeat, register, worker
from tests.db.test_worker_commands import ROW, SLOT, ended_by_itself, tell, until_row
from tests.db.worker_kit import Script, executor, running
from tests.seed import Chain

KILLED = "UPDATE worker_registry SET session_seen = true WHERE id = ANY (%s)"
"""Its session is gone, and nobody has missed it yet: its slot is not free."""
MISSED = (
    "UPDATE worker_registry SET session_seen = true, session_lost_at = now() - interval '6 seconds' WHERE id = ANY (%s)"
)
"""It died six seconds ago: its slot is free."""
ELSEWHERE = "all-gas-topup-002"
THIRD = "all-gas-topup-003"


async def begins(connection: Connection, **changes: Any) -> tuple[str, str]:
    """The slot that a process gets, and what it is told."""
    row = await (await connection.execute(statement("workers/register"), worker("gas-topup", **changes))).fetchone()
    assert row is not None
    return row[0], row[1]


async def killed(connection: Connection, *desired: str, how: str = KILLED) -> Sequence[str]:
    """The slots of processes that were told this and then killed, one each."""
    slots = []
    for told in desired:
        slot, _ = await begins(connection)
        if told != "running":
            await tell(connection, {"paused": "pause", "stopped": "stop"}[told], slot)
        slots.append(slot)
    await connection.execute(how, [slots])
    return slots


@pytest.mark.parametrize("desired", ["paused", "stopped"])
class TestOneThatWasToldNotToWork:
    async def test_passes_it_on_while_its_slot_is_not_free(self, connection: Connection, desired: str) -> None:
        await killed(connection, desired)
        audited = await value(connection, "SELECT count(*) FROM admin_actions")
        assert await begins(connection) == (ELSEWHERE, desired)
        assert await rows(connection, ROW, ELSEWHERE) == [("running", desired, 1, 0)], "it has yet to obey"
        assert await value(connection, "SELECT count(*) FROM admin_actions") == audited

    async def test_to_one_process(self, connection: Connection, desired: str) -> None:
        await killed(connection, desired)
        await begins(connection)
        assert await begins(connection) == (THIRD, "running")
        await connection.execute(MISSED, [[SLOT]])
        assert await begins(connection) == (SLOT, "running")
        assert await rows(connection, ROW, SLOT) == [("running", "running", 2, 2)]

    async def test_keeps_it_where_its_slot_is_free(self, connection: Connection, desired: str) -> None:
        await killed(connection, desired, how=MISSED)
        assert await begins(connection) == (SLOT, desired)
        assert await begins(connection) == (ELSEWHERE, "running")

    async def test_keeps_it_where_it_lives_nevertheless(self, connection: Connection, desired: str) -> None:
        of = await register(connection, worker("gas-topup"))
        await tell(connection, {"paused": "pause", "stopped": "stop"}[desired])
        await connection.execute(KILLED, [[SLOT]])
        await begins(connection)
        assert await value(connection, "SELECT stats ? 'replaced_by' FROM worker_registry WHERE id = %s", SLOT)
        assert await heartbeat(connection, of, stats=Jsonb({})) == desired
        assert not await value(connection, "SELECT stats ? 'replaced_by' FROM worker_registry WHERE id = %s", SLOT)

    async def test_is_no_business_of_another_host(self, connection: Connection, desired: str) -> None:
        await killed(connection, desired)
        assert await begins(connection, host="other") == (ELSEWHERE, "running")
        assert await begins(connection) == (THIRD, desired)

    async def test_passes_it_to_one_that_was_started_for_its_slot_and_keeps_it(
        self, connection: Connection, desired: str
    ) -> None:
        """As the agent of a host starts them; the slot's next process is told the same."""
        await killed(connection, desired)
        assert await begins(connection, slot=SLOT, elsewhere=True) == (ELSEWHERE, desired)
        await connection.execute(MISSED, [[SLOT]])
        assert await begins(connection, slot=SLOT) == (SLOT, desired)

    async def test_among_those_of_a_host_that_was_started_again(self, connection: Connection, desired: str) -> None:
        await killed(connection, "running", desired, "running", "running")
        told = [await begins(connection) for _ in range(4)]
        assert sorted(was for _, was in told) == sorted([desired, "running", "running", "running"])
        assert len({slot for slot, _ in told}) == 4


async def test_a_command_to_a_slot_whose_process_was_replaced_is_for_its_next_one(connection: Connection) -> None:
    await killed(connection, "paused")
    assert await begins(connection) == (ELSEWHERE, "paused")
    await connection.execute(MISSED, [[SLOT]])
    assert (await tell(connection, "stop"))[1] == "stopped"
    await connection.execute("UPDATE worker_registry SET last_heartbeat = clock_timestamp() WHERE id = %s", [ELSEWHERE])
    assert await begins(connection) == (SLOT, "stopped")


@pytest.mark.parametrize(("how", "slot"), [(KILLED, THIRD), (MISSED, ELSEWHERE)])
async def test_a_slot_that_was_stopped_long_ago_takes_in_no_other_one(
    connection: Connection, how: str, slot: str
) -> None:
    """The other one was killed, and begins again: it works, as it did."""
    await killed(connection, "stopped", "running", how=how)
    await connection.execute(
        "UPDATE worker_registry SET last_heartbeat = now() - interval '1 hour', status = 'stopped',"
        " ended_at = now() - interval '1 hour'"
        " WHERE id = %s",
        [SLOT],
    )
    assert await begins(connection) == (slot, "running")


async def test_a_worker_that_lost_its_slot_replaces_nobody(connection: Connection) -> None:
    """It works, and goes on to work, also where the slot of one that was paused and killed is not free."""
    await killed(connection, "paused")
    assert await begins(connection, slot=SLOT, elsewhere=True, desired="running") == (ELSEWHERE, "running")


async def test_a_restart_is_obeyed_in_a_database_that_was_restored(
    connection: Connection, database: str, tron: Chain
) -> None:
    """Its row is back in the time before the commands that the process has obeyed."""
    async with running(executor(Script()), database, command_seconds=0.05) as runtime, ended_by_itself(runtime):
        for count in range(1, 4):
            await tell(connection, "pause" if count % 2 else "resume")
            await until_row(connection, observed_generation=count)
        await connection.execute(
            "UPDATE worker_registry SET generation = 1, observed_generation = 1, last_heartbeat = clock_timestamp()"
        )
        await runtime.registration.read_orders()
        await tell(connection, "restart")
    assert runtime.begins_anew


async def test_a_command_that_is_under_way_is_waited_for(connection: Connection, database: str) -> None:
    """The one who begins finds it neither lost nor half told."""
    await killed(connection, "running")
    async with second_session(database) as operator, second_session(database) as beginner:
        async with operator.transaction():
            await tell(operator, "pause")
            beginning = asyncio.create_task(begins(beginner))
            await until_blocked(connection, beginner)
        assert await beginning == (ELSEWHERE, "paused")


async def test_a_stop_of_a_slot_whose_stop_was_passed_on_is_a_new_one(connection: Connection) -> None:
    await killed(connection, "stopped")
    assert await begins(connection) == (ELSEWHERE, "stopped")
    await tell(connection, "start", ELSEWHERE)
    await connection.execute(MISSED, [[SLOT]])
    assert await tell(connection, "stop") == ("stopped", "stopped", 2, 2)
    assert await begins(connection) == (SLOT, "stopped")


async def test_one_that_was_stopped_and_ended_is_not_taken_for_one_that_died_later(connection: Connection) -> None:
    await killed(connection, "running", "stopped")
    await connection.execute(
        "UPDATE worker_registry SET status = 'stopped', ended_at = now() - interval '20 s', last_heartbeat = now()"
        " WHERE id = %s",
        [ELSEWHERE],
    )
    assert await begins(connection) == (THIRD, "running")


async def test_no_process_says_that_it_was_replaced(connection: Connection) -> None:
    """What it says of itself is text of its own."""
    of = await register(connection, worker("gas-topup"))
    await heartbeat(connection, of, stats=Jsonb({"replaced_by": "x; rm -rf /", "held": 1}))
    assert await value(connection, "SELECT stats FROM worker_registry") == {"held": 1}
    assert (await tell(connection, "pause"))[1] == "paused"


async def test_an_agent_starts_a_process_in_a_slot_whose_stop_was_passed_on(connection: Connection) -> None:
    await killed(connection, "stopped")
    assert await begins(connection) == (ELSEWHERE, "stopped")
    await connection.execute(MISSED, [[SLOT]])
    host = Host(connection, "h")
    await host.register()
    (slot,) = await host.take({"type": "gas-topup", "blockchain": ""})
    assert (slot["slot"], slot["desired"], slot["free"]) == (SLOT, "running", True)
    assert (await tell(connection, "stop"))[1] == "stopped"
    assert (await tell(connection, "start"))[1] == "running"
