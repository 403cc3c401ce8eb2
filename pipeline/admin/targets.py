"""How many workers of a type there shall be. Said by one SQL function (sql/functions/host_agents.sql), which writes
admin_actions; obeyed by the agents of hosts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.errors import NeedsAnotherWord
from pipeline.admin.refusals import act
from pipeline.db.rows import fetch, fetch_one, fetch_values


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
    before: int | None
    """What was said before; None: nothing was."""
    host_is_known: bool
    """Whether a worker ran on ``host``, or an agent; also true over all hosts."""


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
    """Say how many there shall be; None: one on each host again. ``anyway``: also none of those that follow payments.
    Raises Conflict for an unknown type or chain and for a number that is not from 0 to 200; NeedsAnotherWord without
    ``anyway``."""
    async with connection.transaction():
        said = await listed(connection)
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
        if row["type"] == "confirmations" and row["workers"] == 0 and not anyway:
            # The database refuses it while payments are out; the next one may be sent a moment later.
            raise NeedsAnotherWord(
                "no worker would follow payments" + (f" on {row['host']}" if row["host"] else ""),
                "what is sent from now on stays unsettled until there is such a worker again",
            )
    agents = await fetch_values(connection, "hosts/agents", type=row["type"], blockchain=row["blockchain"])
    known = await fetch_one(connection, "workers/known")
    place = (row["type"], row["blockchain"], row["host"])
    return Scaled(
        **row,
        agents=[host for host in agents if row["host"] in ("", host)],
        before=next((one.workers for one in said if (one.type, one.blockchain, one.host) == place), None),
        host_is_known=row["host"] in ("", *known["hosts"]),
    )


async def listed(connection: AsyncConnection[Any]) -> list[WorkerTarget]:
    """All numbers that were said. Raises psycopg.Error."""
    return [WorkerTarget(**row) for row in await fetch(connection, "hosts/targets")]
