"""The lock by which others see that a worker lives, held by its LISTEN session (sql/functions/workers.sql)."""

from uuid import UUID

from loguru import logger

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from pipeline.log import LogThrottle


class SessionLock:
    """The lock of one worker; who has no worker id needs none, and counts as holding it."""

    def __init__(self, worker_id: UUID | None) -> None:
        self.held = worker_id is None
        self._worker_id = worker_id
        self._taken = LogThrottle()

    def lose(self) -> None:
        """There is another session, which has yet to take it."""
        self.held = self._worker_id is None

    async def take(self, connection: Connection) -> None:
        """Take the lock if this session has it not yet; says who has it otherwise. Raises psycopg errors."""
        if self.held:
            return
        row = await (
            await connection.execute(statement("listener/hold_session"), {"worker_id": self._worker_id})
        ).fetchone()
        self.held = row is not None and bool(row[0])
        if not self.held and self._taken.due():
            holder = await (
                await connection.execute(statement("listener/session_taken_by"), {"worker_id": self._worker_id})
            ).fetchone()
            pid, user = holder or ("unknown", "unknown")
            logger.error(
                "session {} of user {} holds the lock of this worker's session, which is seen alive by its heartbeats "
                "only; end it: SELECT pg_terminate_backend({})",
                pid, user, pid,
            )  # fmt: skip
