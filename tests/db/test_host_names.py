"""Two machines of one name: the agent that lives keeps its row and slots, also while sessions are gone for a moment."""

import io
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pipeline.db.pool import Connection
from pipeline.scaling.agent import HostAgent
from pipeline.scaling.machine import running_machine
from pipeline.scaling.output import Output
from tests.db.sessions import rows, value
from tests.db.test_host_agents import Host, start
from tests.db.test_registry import heartbeat
from tests.db.worker_kit import running

__all__ = ["start"]

FIRST, SECOND = "all-host-001", "all-host-002"
TOPUP = "tron-gas-topup-001"
LOST = (
    "UPDATE worker_registry SET session_seen = true, session_lost_at = now() - %s::interval WHERE id = 'all-host-001'"
)


async def hold_session(connection: Connection, of: Host) -> None:
    """As the agent's LISTEN session does."""
    await connection.execute("SELECT pg_advisory_lock_shared(worker_session_key(%s))", [of.me["incarnation"]])


async def lose_session(connection: Connection, of: Host) -> None:
    await connection.execute("SELECT pg_advisory_unlock_shared(worker_session_key(%s))", [of.me["incarnation"]])


async def test_at_a_failover_the_one_that_lives_keeps_its_row_and_its_slots(
    start: Callable[..., Any], connection: Connection
) -> None:
    one = await start("one", "m-1")
    await hold_session(one.session, one)
    assert await one.kept() == [TOPUP]
    await heartbeat(one.session, one.me)

    await lose_session(one.session, one)
    clone = await start("one", "m-2")
    assert await rows(connection, "SELECT id FROM worker_registry WHERE type = 'host' ORDER BY id") == [
        (FIRST,),
        (SECOND,),
    ]
    assert await clone.take() == [], "the other may return"
    assert await one.kept() == [TOPUP]

    await hold_session(one.session, one)
    await heartbeat(one.session, one.me)
    with pytest.raises(psycopg.Error, match="host one has an agent already: all-host-001") as error:
        await clone.take()
    assert error.value.sqlstate == "FP003"
    assert await one.kept() == [TOPUP]


async def test_one_that_does_not_return_is_replaced_after_five_seconds(
    start: Callable[..., Any], connection: Connection
) -> None:
    """Though nobody but the new one is there to see that it is gone."""
    one = await start("one", "m-1")
    assert await one.kept() == [TOPUP]
    await connection.execute("UPDATE worker_registry SET session_seen = true WHERE id = %s", [FIRST])
    clone = await start("one", "m-2")
    assert await clone.take() == []
    assert await value(connection, "SELECT session_lost_at IS NOT NULL FROM worker_registry WHERE id = %s", FIRST)
    await connection.execute(LOST, ["6 s"])
    assert await clone.kept() == [TOPUP]


@pytest.mark.parametrize(
    ("before", "after", "lost", "taken"),
    [
        ("m-1", "m-1", "0 s", FIRST),
        ("m-1", "m-2", "4 s", SECOND),
        ("m-1", "m-2", "6 s", FIRST),
        (None, "m-1", "4 s", SECOND),
        (None, None, "4 s", SECOND),
        (None, None, "6 s", FIRST),
    ],
)
async def test_whose_row_is_taken(
    start: Callable[..., Any],
    connection: Connection,
    before: str | None,
    after: str | None,
    lost: str,
    taken: str,
) -> None:
    one = await start("one", before)
    await connection.execute(LOST, [lost])
    assert await Host(one.session, "one", after).register() == taken


async def test_an_agent_says_which_machine_it_runs_on(connection: Connection, database: str) -> None:
    async with running(HostAgent([], [], Output(io.StringIO())), database):
        assert await value(connection, "SELECT config ->> 'machine' FROM worker_registry") == running_machine()
