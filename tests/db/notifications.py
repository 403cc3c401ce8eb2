"""What was notified: every notification that a test's own statements caused, and no waiting for those that did not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, sql

from pipeline.db.pool import Connection
from tests.patience import PATIENCE

CHANNELS = ("wallet_flags", "jobs", "balance_due", "transfers", "config")
END = "end_of_test_step"

Received = tuple[str, Any]
"""Channel and decoded payload."""


class Notifications:
    """A session that listens on all channels of the project."""

    def __init__(self, listener: Connection, writer: Connection) -> None:
        self._listener = listener
        self._writer = writer

    async def received(self) -> list[Received]:
        """Everything that was committed before this call, in order. Notifications arrive in the order of commits, so
        one of our own marks the end."""
        await self._writer.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(END)))
        received: list[Received] = []
        async for notification in self._listener.notifies(timeout=PATIENCE):
            if notification.channel == END:
                return received
            assert len(notification.payload) < 8000
            received.append((notification.channel, json.loads(notification.payload)))
        raise AssertionError(f"the mark did not arrive within {PATIENCE} s; before it came {received}")

    async def on(self, channel: str) -> list[Any]:
        """The payloads of one channel; the others of this step are dropped."""
        return [payload for name, payload in await self.received() if name == channel]


@asynccontextmanager
async def notifications_of(dsn: str, writer: Connection) -> AsyncIterator[Notifications]:
    """Listens on the database of ``writer``, from now on."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as listener:
        for channel in (*CHANNELS, END):
            await listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        yield Notifications(listener, writer)
