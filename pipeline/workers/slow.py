"""Statements that the server breaks off, because they take longer than a session of ours may wait (or because somebody
cancelled them). What has several things to do one after the other leaves such a one out and goes on with the rest.

    asked ──(broken off twice)──▶ left out ──(LEFT_OUT_SECONDS)──▶ asked once ──(answered)──▶ asked
                                      ◀──(broken off again)──┘
"""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from loguru import logger
from psycopg.errors import QueryCanceled

from pipeline.workers.process import Process

Result = TypeVar("Result")

TRIES = 2
"""The first may have met a lock, or a cold cache."""
LEFT_OUT_SECONDS = 300.0
"""A statement that is left out costs its timeout (``db.pool``), 30 s, so often."""


class TooSlow(Exception):
    """The server broke the statement off, now or lately: what it does waits."""


class Statements:
    """The statements of one part of a process, and which of them are left out."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._left_out: dict[str, float] = {}
        """Until when by name; the time may have passed, then it is asked once."""

    async def ask(
        self,
        name: str,
        what: str,
        action: Callable[[], Awaitable[Result]],
        *,
        left_out_seconds: float = LEFT_OUT_SECONDS,
    ) -> Result:
        """``action``, which is statement ``name``, until it goes through, however long the database is away. Says in
        the log, once, and in worker_registry that it was broken off. Raises TooSlow, and Stopped."""
        if time.monotonic() < self._left_out.get(name, 0.0):
            raise TooSlow(name)

        async def tried() -> Result:
            for left in reversed(range(1 if name in self._left_out else TRIES)):
                try:
                    return await action()
                except QueryCanceled as error:
                    if left == 0:
                        self._leave_out(name, what, error, left_out_seconds)
                        raise TooSlow(name) from error
            raise AssertionError("the last try returns or raises")

        answer = await self._process.persist(what, tried)
        if self._left_out.pop(name, None) is not None:
            logger.info("{} succeeds again", name)
            self._process.troubles.say(f"slow {name}", "")
        return answer

    def _leave_out(self, name: str, what: str, error: QueryCanceled, left_out_seconds: float) -> None:
        said = (
            f"{what} waits: the server breaks off the statement {name} ({' '.join(str(error).split())}); all else goes "
            "on. Find what makes it slow: locks and open transactions (flagpost doctor), missing indexes, tables that "
            "VACUUM ANALYZE has not seen"
        )
        if name not in self._left_out:
            logger.error("{}", said)
        self._left_out[name] = time.monotonic() + left_out_seconds
        self._process.troubles.say(f"slow {name}", said)
