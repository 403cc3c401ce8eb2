"""What keeps the system standing still and whoever it hits cannot tell: each process that rescues jobs reports it.

A session that waits for a lock says nothing until it is over, and where nobody leads there is nobody to say so.
"""

import asyncio

from loguru import logger

from pipeline.db.pool import Connection
from pipeline.db.rows import fetch
from pipeline.workers.process import Process

CHECK_SECONDS = 4.0
"""Between two checks. A lock of ours is waited for 10 s at the most (sql/functions/lock_rows.sql), and told before."""
BLOCKED_SECONDS = 4.0
"""How long a session may wait for a lock: a commit takes milliseconds."""
WITHOUT_LEADER_SECONDS = 60.0
"""How long nobody may lead: a takeover takes 10 s where the leader was killed, 32 where it is frozen."""
SAY_AGAIN_SECONDS = 30.0
"""Between two lines about the same."""


class Watchdog:
    """The checks of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._next_check = 0.0
        self._said_at: dict[str, float] = {}

    async def check(self, connection: Connection) -> None:
        """Check, unless it was done lately, and say what is wrong in the log and in worker_registry. Raises
        psycopg.Error."""
        now = asyncio.get_running_loop().time()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        found = {**await self._blocked(connection), **await self._without_leader(connection)}
        self._said_at = {what: at for what, at in self._said_at.items() if what in found}
        for what, message in found.items():
            if what not in self._said_at or now >= self._said_at[what] + SAY_AGAIN_SECONDS:
                self._said_at[what] = now
                logger.error("{}", message)
        self._process.troubles.say("watchdog", "; ".join(found.values()))

    async def _blocked(self, connection: Connection) -> dict[str, str]:
        """By whom is waited for."""
        found: dict[str, str] = {}
        for row in await fetch(connection, "rescue/blocked", longer_than_seconds=BLOCKED_SECONDS):
            since = f", in a transaction since {row['blocker_since']:%H:%M:%S}" if row["blocker_since"] else ""
            found.setdefault(
                f"blocker {row['blocker']}",
                f"session {row['pid']} ({row['application_name']}) has waited since {row['waiting_since']:%H:%M:%S} "
                f"for a lock of session {row['blocker']} (user {row['blocker_user']}, application "
                f"{row['blocker_application'] or 'unknown'}{since}): if that hangs, end it: "
                f"SELECT pg_terminate_backend({row['blocker']})",
            )
        return found

    async def _without_leader(self, connection: Connection) -> dict[str, str]:
        """By what is not led."""
        rows = await fetch(connection, "rescue/without_leader", longer_than_seconds=WITHOUT_LEADER_SECONDS)
        return {
            row["name"]: f"nobody has led {row['name']} since {row['since']:%Y-%m-%d %H:%M:%S}"
            + (f" (last: {row['last_holder']})" if row["last_holder"] else "")
            + f": see that a process `flagpost {row['name'].split()[0]}` runs"
            for row in rows
        }
