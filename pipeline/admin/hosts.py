"""The agents of hosts, before one of them starts."""

from typing import Any

from psycopg import AsyncConnection

from pipeline.admin.errors import Conflict
from pipeline.db.rows import fetch


async def refuse_second_agent(connection: AsyncConnection[Any], host: str, pid: int) -> None:
    """Raises Conflict where another process than ``pid`` is the agent of ``host`` and has its session; psycopg.Error.
    What happens between here and the registration the database refuses (sql/functions/host_agents.sql)."""
    for other in await fetch(connection, "hosts/agent_of", host=host, pid=pid):
        raise Conflict(
            f"host {host} has an agent already: {other['slot']}, pid {other['pid']}, since {other['since']}",
            "end that one, or give this one another name: flagpost host --name",
        )
