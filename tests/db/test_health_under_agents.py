"""What health says of workers that the agent of a host starts: what helps is told to the agent, or done by it."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.db.pool import Connection
from tests.db.sessions import rows, value
from tests.db.test_registry import register, worker

SLOT = "all-sync-001"
DEAD = "UPDATE worker_registry SET session_seen = true, session_lost_at = now() - interval '9 s' WHERE type = 'sync'"


@pytest.fixture
async def dead(connection: Connection) -> Mapping[str, Any]:
    """Its process is gone, and its agent is there."""
    await register(connection, worker("host", host="here"))
    of = await register(connection, worker("sync", host="here", managed_by="here"))
    await connection.execute(DEAD)
    return of


async def reasons(connection: Connection) -> list[str]:
    ((found,),) = await rows(connection, "SELECT reasons FROM system_health()")
    return list(found)


async def test_one_that_died_is_started_again_by_its_agent(connection: Connection, dead: Mapping[str, Any]) -> None:
    (why,) = await reasons(connection)
    assert why == f"{SLOT}: no process has the slot: the agent of its host starts it again"


async def test_one_that_was_given_up_is_started_by_a_command(connection: Connection, dead: Mapping[str, Any]) -> None:
    await connection.execute(
        "UPDATE worker_registry SET status = 'error', last_error = 'given up', ended_at = now() WHERE id = %s", [SLOT]
    )
    (why,) = await reasons(connection)
    assert why == f"{SLOT}: given up: once that is mended: flagpost workers start {SLOT}"


async def test_nobody_misses_those_of_an_agent_that_was_told_to_stop(
    connection: Connection, dead: Mapping[str, Any]
) -> None:
    await connection.execute("SELECT control_worker('all-host-001', 'stop')")
    assert await reasons(connection) == []
    start = "its agent was told to stop: flagpost workers start all-host-001"
    assert await value(connection, "SELECT how_to_start('sync')") == start


async def test_of_a_type_that_there_is_not_to_be_the_number_is_named(connection: Connection) -> None:
    await connection.execute("INSERT INTO worker_targets (type, workers) VALUES ('confirmations', 0)")
    told = "there shall be none: flagpost workers scale confirmations NUMBER"
    assert await value(connection, "SELECT how_to_start('confirmations')") == told
    assert await value(connection, "SELECT how_to_start('sync')") == "start one: flagpost sync"
