"""The gate before a doorbell: while bells come faster than anybody could answer them, a listener asks not to be rung.

    settling ──(nobody silent)──▶ asleep ──(a burst of bells)──▶ awake ──(nobody silent, or long enough)──▶ settling

*Asleep* it relies on being rung. *Awake* it rings its own process every few milliseconds, and whoever changes a flag is
*silent*: rings nobody, and spares all others the wait for that commit. *Settling* it is asleep, too, but somebody who
was silent has not committed yet, or somebody else holds the lock by which it would be seen asleep: until that is over
it rings its own process as well. The locks by which writers and listeners know of each other, and why no flag is
missed, stand in sql/functions/doorbell.sql.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from pipeline.db.pool import Connection
from pipeline.db.statements import statement

BURST = 8
BURST_SECONDS = 0.08
"""So many bells within so many seconds are a burst: writers that wait for one another's commits come to 100 a second
even on a slow disk, and a bell every 20 ms is better answered at once."""
LOOK_SECONDS = 0.02
"""Between two looks of who is awake: the most that a flag waits for one."""
LONGEST_AWAKE_SECONDS = 1.0
"""Then it is asleep for a moment: a transaction left open at a prompt would keep it awake for ever."""
LONGEST_PAUSE = 0.25
"""Seconds between two looks of who is settling: the most that flags of a silent transaction wait after its commit."""


class _State(Enum):
    SETTLING = auto()
    ASLEEP = auto()
    WAKING = auto()
    """A burst was heard; nobody knows of it yet."""
    AWAKE = auto()


class Gate:
    """The bells of one channel, as the owner of a LISTEN session hears them.

    The locks belong to that session: methods that take a connection take this one, and none is used after an error.
    """

    def __init__(self, ring: Callable[[], None], *, burst: int = BURST, look_seconds: float = LOOK_SECONDS) -> None:
        """``ring`` is called where there may be flags that no bell told of."""
        self.enabled = False
        """Whether it may ask for silence."""
        self.burst = burst
        self.look_seconds = look_seconds
        self.bursts = 0
        """How often it asked."""
        self._ring = ring
        self._state = _State.SETTLING
        self._unseen = False
        """Whether somebody else holds the lock by which writers would know that it is to be rung."""
        self._hushes = False
        self._due = math.inf
        self._pause = self.look_seconds
        self._awake_until = 0.0
        self._bells: deque[float] = deque()

    @property
    def seconds_left(self) -> float:
        """Until the next ``step`` is due; infinity where only bells count."""
        return self._due - _now()

    def heard(self) -> None:
        """A bell was rung."""
        if not self.enabled or self._unseen or self._state in (_State.WAKING, _State.AWAKE):
            return
        self._bells.append(_now())
        if len(self._bells) >= self.burst and _now() - self._bells.popleft() <= BURST_SECONDS:
            self._bells.clear()
            self._state, self._due = _State.WAKING, _now()

    async def open(self, connection: Connection) -> None:
        """On a new session, before it listens. Its owner looks at the tables once it does."""
        self._bells.clear()
        self._pause = self.look_seconds
        self._hushes = False
        await self._fall_asleep(connection)

    async def step(self, connection: Connection) -> None:
        """Do what is due. Raises psycopg.Error; the session is to be given up then, and with it what it holds."""
        match self._state:
            case _State.WAKING:
                self._hushes = await _asked(connection, "listener/stay_awake") is True
                self.bursts += 1
                self._awake_until = _now() + LONGEST_AWAKE_SECONDS
                self._state, self._due = _State.AWAKE, _now() + self.look_seconds
            case _State.AWAKE:
                quiet = await _asked(connection, "listener/nobody_is_silent")
                if quiet or not self.enabled or _now() >= self._awake_until:
                    self._pause = self.look_seconds
                    await self._fall_asleep(connection)
                else:
                    self._due = _now() + self.look_seconds
                self._ring()
            case _State.SETTLING:
                if self._unseen:
                    await self._fall_asleep(connection)
                else:
                    self._settle(await _asked(connection, "listener/nobody_is_silent") is True)
                self._ring()
            case _State.ASLEEP:
                pass

    async def _fall_asleep(self, connection: Connection) -> None:
        quiet = await _asked(connection, "listener/fall_asleep", hushes=self._hushes)
        self._unseen = quiet is None
        self._hushes = self._hushes and self._unseen
        self._settle(quiet is True)

    def _settle(self, quiet: bool) -> None:
        if quiet:
            self._state, self._due = _State.ASLEEP, math.inf
        else:
            self._state, self._due = _State.SETTLING, _now() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)


async def _asked(connection: Connection, name: str, **parameters: bool) -> bool | None:
    row = await (await connection.execute(statement(name), parameters)).fetchone()
    return None if row is None or row[0] is None else bool(row[0])


def _now() -> float:
    return asyncio.get_running_loop().time()
