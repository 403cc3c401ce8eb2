"""How many workers of a type there shall be. Said by one SQL function (sql/functions/host_agents.sql), which writes
admin_actions; obeyed by the agents of hosts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.refusals import act
from pipeline.db.rows import fetch, fetch_values


@dataclass(frozen=True, slots=True)
class Scale:
    """What is scaled."""

    type: str
    """As in ``worker_types``."""
    blockchain: str = ""
    """The chains that the workers are limited to, by name, with commas; empty: those that serve all."""
    host: str = ""
    """Where; empty: over all hosts but those with a number of their own."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """What was said."""

    type: str
    blockchain: str
    host: str
    workers: int | None
    """None: one on each host."""
    agents: list[str]
    """Hosts whose agent can run such workers now."""


@dataclass(frozen=True, slots=True)
class WorkerTarget:
    """One row of worker_targets."""

    type: str
    blockchain: str
    host: str
    workers: int
    set_by: str
    """operator or scaling."""
    set_at: datetime
    alive: int
    """Processes that there are."""


async def scale(
    connection: AsyncConnection[Any],
    of: Scale,
    workers: int | None,
    *,
    anyway: bool = False,
    admin: UUID | None = None,
) -> Scaled:
    """Say how many there shall be; None: one on each host again. ``anyway``: also none where payments are out that
    nobody else follows. Raises Conflict for an unknown type or chain and for a number that is not from 0 to 200;
    NeedsAnotherWord without ``anyway``."""
    (row,) = await act(
        connection,
        "hosts/scale",
        type=of.type,
        workers=workers,
        blockchain=of.blockchain,
        host=of.host,
        anyway=anyway,
        admin=admin,
    )
    agents = await fetch_values(connection, "hosts/agents", type=row["type"], blockchain=row["blockchain"])
    return Scaled(**row, agents=[host for host in agents if row["host"] in ("", host)])


async def listed(connection: AsyncConnection[Any]) -> list[WorkerTarget]:
    """All numbers that were said. Raises psycopg.Error."""
    return [WorkerTarget(**row) for row in await fetch(connection, "hosts/targets")]
