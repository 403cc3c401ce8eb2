"""How many of a process's attempts failed lately: its error rate, as ``worker_health()`` judges it."""

import asyncio
from collections import deque

WINDOW_SECONDS = 600.0
_STEP_SECONDS = 30.0


class RecentAttempts:
    """Attempts of the last ten minutes, to half a minute: jobs of an executor, balances of a sync."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int, int]] = deque()
        """When a step began, by the time of the event loop; attempts and failed ones in it."""

    def note(self, attempts: int, failed: int = 0) -> None:
        """So many were made just now, of which ``failed`` failed."""
        if not attempts:
            return
        began, before, failed_before = self._steps[-1] if self._steps else (float("-inf"), 0, 0)
        now = asyncio.get_running_loop().time()
        if now - began < _STEP_SECONDS:
            self._steps[-1] = began, before + attempts, failed_before + failed
        else:
            self._steps.append((now, attempts, failed))
        while self._steps[0][0] < now - WINDOW_SECONDS:
            self._steps.popleft()

    def stats(self) -> dict[str, int]:
        """For worker_registry.stats."""
        oldest = asyncio.get_running_loop().time() - WINDOW_SECONDS
        lately = [(attempts, failed) for began, attempts, failed in self._steps if began >= oldest]
        return {
            "recent_attempts": sum(attempts for attempts, _ in lately),
            "recent_failed": sum(failed for _, failed in lately),
        }
