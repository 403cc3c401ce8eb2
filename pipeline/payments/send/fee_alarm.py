"""The alarm that a chain's fees have been above our limits for long. Each job waits with its reason and uses up no
attempt, so that nobody would hear of it. Fees are decided by the provider (``chains/<family>/rpc/fees.py``)."""

import time
from collections.abc import Callable, Sequence

from loguru import logger

from pipeline.chains.errors import FeeCapTooLow
from pipeline.chains.fees import Fee
from pipeline.log import LogThrottle

LONGEST_SECONDS = 3600.0
"""How long fees may be above the limits until an alarm; it is repeated after as long."""


def _unheard(_: str) -> None:
    """Where no registry is at hand."""


class FeeAlarm:
    """Of one chain and one process."""

    def __init__(self, tell: Callable[[str], None] = _unheard, clock: Callable[[], float] = time.monotonic) -> None:
        """``tell`` shows an alarm to operators (worker_registry); an empty one once it is over."""
        self._tell = tell
        self._clock = clock
        self._since: float | None = None
        """Since when fees have been above the limits."""
        self._told = False
        self._throttle = LogThrottle(LONGEST_SECONDS)

    def note(self, chain: str, priced: Sequence[Fee | Exception]) -> None:
        """``priced``: what payments of one moment cost, or why no fee could be had."""
        expensive = [one for one in priced if isinstance(one, FeeCapTooLow)]
        if any(not isinstance(one, Exception) for one in priced):
            self._since = None
            if self._told:
                self._told = False
                self._tell("")
        elif expensive:
            now = self._clock()
            self._since = now if self._since is None else self._since
            if now - self._since >= LONGEST_SECONDS and self._throttle.due():
                minutes = round((now - self._since) / 60)
                alarm = (
                    f"{chain}: nothing has been paid for {minutes} min, fees are above what is allowed: {expensive[0]}"
                )
                logger.error("{}", alarm)
                self._told = True
                self._tell(alarm)
