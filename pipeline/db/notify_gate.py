"""Whether a listener waits for NOTIFY or polls, while notifications come faster than anybody could answer them.

    settling ──(no writer is suppressed)──▶ waiting ──(a burst of notifications)──▶ polling
        ◀──────────────────────────────(no writer is suppressed, or long enough)───────┘

*Waiting* it relies on NOTIFY. *Polling* it calls its own process every few milliseconds, and whoever changes a flag
*suppresses* NOTIFY, which spares all others the wait for that commit. *Settling* it waits, too, but a writer that
suppressed its NOTIFY has not committed yet, or somebody else holds the lock by which it would be seen waiting: until
that is over it polls as well. The locks by which writers and listeners know of each other, and why no flag is missed,
stand in sql/functions/notify_suppression.sql.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from pipeline.db.pool import Connection
from pipeline.db.rows import fetch_value

BURST = 8
BURST_SECONDS = 0.08
"""So many notifications within so many seconds are a burst: writers that wait for one another's commits come to 100 a
second even on a slow disk, and a NOTIFY every 20 ms is better answered at once."""
POLL_SECONDS = 0.02
"""Between two polls: the most that a flag waits for one."""
LONGEST_POLLING_SECONDS = 1.0
"""Then it waits for a moment: a transaction left open at a prompt would keep it polling for ever."""
LONGEST_PAUSE = 0.25
"""Seconds between two polls while settling: the most that flags of a suppressed transaction wait after its commit."""


class _State(Enum):
    SETTLING = auto()
    WAITING = auto()
    BURST = auto()
    """A burst was heard; nobody knows of it yet."""
    POLLING = auto()


class Gate:
    """The notifications of one channel, as the owner of a LISTEN session hears them.

    The locks belong to that session: methods that take a connection take this one, and none is used after an error.
    """

    def __init__(self, poll: Callable[[], None], *, burst: int = BURST, poll_seconds: float = POLL_SECONDS) -> None:
        """``poll`` is called where there may be flags that no NOTIFY told of."""
        self.enabled = False
        """Whether it may poll."""
        self.burst = burst
        self.poll_seconds = poll_seconds
        self.bursts = 0
        """How often it began to poll."""
        self._poll = poll
        self._state = _State.SETTLING
        self._refused = False
        """Whether somebody else holds the lock by which writers would know that it waits."""
        self._holds_polling = False
        """Whether it is the one that writers see to be polling."""
        self._due = math.inf
        self._pause = self.poll_seconds
        self._polls_until = 0.0
        self._recent: deque[float] = deque()

    @property
    def seconds_left(self) -> float:
        """Until the next ``step`` is due; infinity while it waits for NOTIFY alone."""
        return self._due - _now()

    def notified(self) -> None:
        """A NOTIFY came."""
        if not self.enabled or self._refused or self._state in (_State.BURST, _State.POLLING):
            return
        self._recent.append(_now())
        if len(self._recent) >= self.burst and _now() - self._recent.popleft() <= BURST_SECONDS:
            self._recent.clear()
            self._state, self._due = _State.BURST, _now()

    async def open(self, connection: Connection) -> None:
        """On a new session, before it listens. Its owner reads the tables once it does."""
        self._recent.clear()
        self._pause = self.poll_seconds
        self._holds_polling = False
        await self._start_waiting(connection)

    async def step(self, connection: Connection) -> None:
        """Do what is due. Raises psycopg.Error; the session is to be given up then, and with it what it holds."""
        match self._state:
            case _State.BURST:
                self._holds_polling = await fetch_value(connection, "listener/start_polling") is True
                self.bursts += 1
                self._polls_until = _now() + LONGEST_POLLING_SECONDS
                self._state, self._due = _State.POLLING, _now() + self.poll_seconds
            case _State.POLLING:
                ended = await fetch_value(connection, "listener/suppressed_writers_ended")
                if ended or not self.enabled or _now() >= self._polls_until:
                    self._pause = self.poll_seconds
                    await self._start_waiting(connection)
                else:
                    self._due = _now() + self.poll_seconds
                self._poll()
            case _State.SETTLING:
                if self._refused:
                    await self._start_waiting(connection)
                else:
                    self._settle(await fetch_value(connection, "listener/suppressed_writers_ended") is True)
                self._poll()
            case _State.WAITING:
                pass

    async def _start_waiting(self, connection: Connection) -> None:
        ended = await fetch_value(connection, "listener/start_waiting", polls=self._holds_polling)
        self._refused = ended is None
        self._holds_polling = self._holds_polling and self._refused
        self._settle(ended is True)

    def _settle(self, ended: bool) -> None:
        if ended:
            self._state, self._due = _State.WAITING, math.inf
        else:
            self._state, self._due = _State.SETTLING, _now() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _now() -> float:
    return asyncio.get_running_loop().time()
