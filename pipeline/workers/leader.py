"""Of several processes of a kind one acts and the others stand by: a lock that a session holds for its life.

On a direct connection of its own, because a pooler would hand the session to others. What must not happen twice is
guarded by rows and not by this lock: it only saves the standby the work.
"""

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.db.pool import Connection, cut_after
from pipeline.db.session import CONNECT_TIMEOUT, session_dsn
from pipeline.db.statements import statement

ANSWER_SECONDS = 5.0
"""A leader whose session does not answer leads no more."""
SILENT_SECONDS = 60.0
"""Until the server itself ends the session of a leader it has not heard of, and with it the leadership: behind a proxy
that swallows everything it would never learn that nobody is there. Leaders ask more often than this."""


class Leader:
    """Leadership under ``name``. ``leads()`` before each piece of work; ``close()`` lets another one lead."""

    def __init__(
        self,
        dsn: str,
        name: str,
        role: str | None = None,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """``dsn`` is a direct one (``dsn.listen_dsn``)."""
        self.name = name
        session = session_dsn(dsn, f"{name} leader", role)
        ends = f"{conninfo_to_dict(session)['options']} -c idle_session_timeout={round(silent_seconds * 1000)}"
        self._dsn = make_conninfo(session, options=ends)
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None

    async def leads(self) -> bool:
        """Whether this process leads now. Raises psycopg.Error when the database does not answer."""
        if self._connection is not None:
            try:
                with cut_after(self._answer_seconds, self._connection):
                    await self._connection.execute(statement("transfers/still_lead"))
            except psycopg.Error:
                await self.close()
                raise
            return True
        connection = await AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT, prepare_threshold=None
        )
        try:
            with cut_after(self._answer_seconds, connection):
                row = await (await connection.execute(statement("transfers/try_lead"), {"name": self.name})).fetchone()
        except psycopg.Error:
            await connection.close()
            raise
        if row is not None and row[0]:
            self._connection = connection
            return True
        await connection.close()
        return False

    async def close(self) -> None:
        """Give the leadership up. Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
