"""How much memory this process has, and when that is too much.

below the limit ──▶ above it ──(it has lived for its settling time)──▶ begins anew: one restart more in a row
      └──(for an hour)──▶ no restart in a row
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

SETTLING_SECONDS = 60.0
"""A process that is over the limit right after it began would begin again and again: it does so once it has lived for
this time, doubled for each restart in a row that did not help."""
LONGEST_SETTLING_SECONDS = 3600.0
HELPED_SECONDS = 3600.0
"""A process that was below the limit for so long was helped by the restarts before."""
MEGABYTE = 1_000_000
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Bytes of memory that this process has in RAM; None where the system does not say (Linux does)."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class MemoryLimit:
    """The restarts of one process for its memory, and whether the next one is due."""

    def __init__(
        self,
        *,
        resident: Callable[[], int | None] = resident_bytes,
        settling_seconds: float = SETTLING_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.restarts: int | None = None
        """In a row, none of which was followed by an hour below the limit. None: not known yet."""
        self.restart_due = ""
        """Why the process is to begin anew; empty: it is not."""
        self._resident = resident
        self._settling_seconds = settling_seconds
        self._clock = clock
        self._began = clock()
        self._below_since: float | None = None

    def judge(self, limit_mb: int) -> str:
        """Compare with ``limit_mb`` megabytes, 0 for no limit. What is wrong that a restart does not mend, and what to
        do; empty: nothing is."""
        now, resident, restarts = self._clock(), self._resident(), self.restarts or 0
        self.restart_due = ""
        if not limit_mb or resident is None or resident <= limit_mb * MEGABYTE:
            self._below_since = now if self._below_since is None else self._below_since
            if now - self._below_since >= HELPED_SECONDS:
                self.restarts = 0
            return ""
        self._below_since = None
        settling = min(LONGEST_SETTLING_SECONDS, self._settling_seconds * 2.0 ** min(restarts, 32))
        if now - self._began >= settling:
            self.restart_due = (
                f"{resident / MEGABYTE:.0f} MB of memory are more than workers.memory_limit_mb ({limit_mb})"
            )
        if not restarts:
            return ""
        # Without the figure of this moment: what is new is shown at once, by a heartbeat.
        return (
            f"restarts in a row that did not bring its memory below workers.memory_limit_mb ({limit_mb}): "
            f"{restarts}; raise it: flagpost config set workers.memory_limit_mb {2 * limit_mb}"
        )
