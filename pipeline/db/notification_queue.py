"""The server's notification queue, as a LISTEN session sees it.

    free ──(half full: NOTIFY is suppressed)──▶ polling, every second ──(free for a minute)──▶ free

The queue keeps what was notified since the slowest listener of the whole server, and one in an open transaction is as
slow as that is long. Commits would fail once it is full, so from half of it on nobody notifies any more
(sql/functions/notify.sql), and listeners poll the tables.
"""

import time
from collections.abc import Callable

from loguru import logger
from psycopg import sql
from psycopg.rows import TupleRow

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from pipeline.log import LogThrottle

SUPPRESSED_FROM = 0.5
"""The share of the queue from which on the database notifies nobody (``notify_is_suppressed``)."""
POLL_SECONDS = 1.0
AFTER_SECONDS = 60.0
"""Polling goes on so long after NOTIFY was last suppressed: a transaction that was may commit later. Those of ours end
after 30 s (``db.pool``); what a person leaves open for longer is found by the sweep."""


class NotificationQueue:
    """What a LISTEN session knows of the queue. ``note`` after each question about it."""

    def __init__(self, poll: Callable[[], None]) -> None:
        """``poll`` is called where there may be something that nobody could notify."""
        self.share = 0.0
        """Of the queue that is used, 0 to 1."""
        self.told: Callable[[str], None] | None = None
        """Called with what is wrong, seldom, and with an empty text once it is over."""
        self._poll = poll
        self._poll_at: float | None = None
        self._suppressed_at = 0.0
        self._said = LogThrottle()

    @property
    def suppressed(self) -> bool:
        """Whether the database notifies nobody."""
        return self.share >= SUPPRESSED_FROM

    @property
    def seconds_left(self) -> float:
        """Until the next ``step`` is due; infinity while there is nothing to poll for."""
        return float("inf") if self._poll_at is None else self._poll_at - time.monotonic()

    async def step(self, connection: Connection) -> None:
        """Ask how full the queue is, which also frees what nobody needs any more, and poll. Raises psycopg.Error."""
        row = await (await connection.execute(statement("listener/queue_usage"))).fetchone()
        assert row is not None  # noqa: S101 - a function that returns one row
        await self.note(connection, row[0])
        if self._poll_at is not None:
            self._poll_at = time.monotonic() + POLL_SECONDS
            self._poll()

    async def note(self, connection: Connection, share: float) -> None:
        """The share of the queue that is used, as the server said. Raises psycopg.Error."""
        before, now = self.suppressed, time.monotonic()
        self.share = share
        if self.suppressed:
            self._suppressed_at = now
            if not before:
                self._said = LogThrottle()
            if self._said.due():
                await self._say_full(connection)
            if self._poll_at is None:
                self._poll_at = now
        elif before:
            logger.info("the notification queue is free again: NOTIFY goes on")
            if self.told is not None:
                self.told("")
        elif now - self._suppressed_at >= AFTER_SECONDS:
            self._poll_at = None

    async def _say_full(self, connection: Connection) -> None:
        suspects = await (await connection.execute(statement("listener/queue_suspects"))).fetchall()
        said = (
            f"the notification queue of the server is {self.share:.0%} full, NOTIFY is suppressed, tables are polled "
            f"every {POLL_SECONDS:g} s: {described(suspects)}"
        )
        logger.error("{}", said)
        if self.told is not None:
            self.told(said)


def described(suspects: list[TupleRow]) -> str:
    """Rows of ``notification_queue_suspects()`` in words, with what to do."""
    if not suspects:
        return "no session is in a transaction now; it is freed by the next question about it"
    sessions = ", ".join(
        f"session {pid} (user {user}, database {database}, application {application or 'unknown'}, "
        f"since {'unknown' if since is None else since.isoformat(' ', 'seconds')})"
        for pid, user, database, application, since in suspects
    )
    end = sql.SQL("SELECT pg_terminate_backend({})").format(sql.Literal(suspects[0][0])).as_string()
    return f"one of these listens in a transaction, the oldest first: {sessions}; end it: {end}"
