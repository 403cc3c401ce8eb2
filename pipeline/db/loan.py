"""The LISTEN session lent for one statement, to whoever was waiting for what it has just heard.

    not wanted ──(the borrower waits)──▶ wanted ──(a NOTIFY)──▶ offered ──▶ taken ──▶ returned
                                                       └──(declined, or nobody came)──▶ returned

A claim that a NOTIFY calls for is answered sooner on the session that heard it: its process on the server is awake, and
another one need not be woken. It is lent between two calls of ``notifies()``, never inside one; what is notified
meanwhile the driver keeps for the next call.
"""

import asyncio
import contextlib
from collections.abc import Iterator

from pipeline.db.pool import Connection

OFFER_SECONDS = 0.1
"""How long an offer stands: the borrower was waiting, and comes within the same millisecond or not at all."""


class Loan:
    """Between the owner of one LISTEN session and one borrower."""

    def __init__(self) -> None:
        self.wanted = False
        """Whether the borrower waits for a notification, and would use the session at once."""
        self.times = 0
        """How often it was taken."""
        self._offered: Connection | None = None
        self._taken = False
        self._returned = asyncio.Event()

    async def offer(self, connection: Connection) -> None:
        """Return once the session is the owner's again."""
        if not self.wanted:
            return
        self._returned.clear()
        self._offered = connection
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OFFER_SECONDS):
                await self._returned.wait()
        self._offered = None
        if self._taken:
            await self._returned.wait()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Connection | None]:
        """The session, if it is offered; else None."""
        connection, self._offered = self._offered, None
        if connection is None:
            yield None
            return
        self._taken = True
        self.times += 1
        try:
            yield connection
        finally:
            self._taken = False
            self._returned.set()

    def decline(self) -> None:
        """It is of no use now."""
        if self._offered is not None:
            self._offered = None
            self._returned.set()
