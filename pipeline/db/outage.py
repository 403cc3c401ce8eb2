"""What the log says of a connection that is lost: each reason at once, and when it is back."""

import time

from loguru import logger

from pipeline.log import LogThrottle


class Outage:
    """The outages of one connection, one after the other."""

    def __init__(self, name: str) -> None:
        """``name`` is what the log calls the connection."""
        self._name = name
        self._since: float | None = None
        self._again = LogThrottle()
        self._reasons: set[str] = set()
        """Of this outage: first the server goes, then another one takes no writes yet."""

    def began(self, error: Exception) -> None:
        """The connection is lost, or could not be made."""
        if self._since is None:
            self._since, self._again, self._reasons = time.monotonic(), LogThrottle(), set()
        why = " ".join(str(error).split())
        if self._again.due() or why not in self._reasons:
            logger.warning("{} lost, connecting again: {}", self._name, why)
        self._reasons.add(why)

    def ended(self) -> None:
        """There is a connection, be it again or for the first time."""
        if self._since is not None:
            logger.info("{} is back after {:.1f} s", self._name, time.monotonic() - self._since)
        self._since = None
