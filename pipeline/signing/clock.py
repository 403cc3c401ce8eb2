"""The time by which ceilings forget: this host's clock, as far as it can be believed.

A clock that jumps a day ahead would make every ceiling forget all that was signed. So it is followed ahead no faster
than time passes, and back at once: what is counted for too long is only counted for too long.
"""

import time
from collections.abc import Callable

SLACK_SECONDS = 300.0
"""A clock that is corrected by this much at the most since the process began is followed."""


def steady() -> float:
    """Seconds that nobody sets, sleep of the machine included where the system counts it."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class HostClock:
    """For one process."""

    def __init__(self, wall: Callable[[], float] = time.time, passed: Callable[[], float] = steady) -> None:
        """``wall`` in seconds since 1970, ``passed`` in seconds since any moment."""
        self._wall = wall
        self._passed = passed
        self._began_at = wall()
        self._began = passed()
        self.set_back = 0
        """How often it went back: what seemed to be over then may not be."""

    @property
    def age(self) -> float:
        """Seconds since the process began."""
        return self._passed() - self._began

    def now(self) -> float:
        """Seconds since 1970."""
        wall, passed = self._wall(), self._passed()
        expected = self._began_at + passed - self._began
        if wall < expected - SLACK_SECONDS:
            self._began_at = wall - (passed - self._began)
            self.set_back += 1
            return wall
        return min(wall, expected + SLACK_SECONDS)
