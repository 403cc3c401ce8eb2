"""Time as the simulation has it."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
"""When every run begins."""


class Clock:
    """Seconds since the beginning of the run. It passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        """An aware UTC datetime."""
        return EPOCH + timedelta(seconds=self.now)


class WallClock(datetime):
    """Stands in for ``datetime`` in modules that ask for the time; ``clock`` is that of the run."""

    clock = Clock()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        wall = cls.clock.wall()
        return cls.fromtimestamp(wall.timestamp(), tz)
