"""What an executor knows of the jobs that wait for their time, or for room.

All that wait are read where that may have changed, when one falls due, and every ``DUE_CHECK_SECONDS``; in between a
look reads those that fell due since. While any session of the database holds an old transaction, jobs that waited once
and are gone would otherwise be visited by every look. Late by that is only what no bell tells of: a row that
somebody's transaction held locked, a time in the future that another process wrote down.
"""

from pipeline.queue.flag_scan import MARGIN_SECONDS

DUE_CHECK_SECONDS = 10.0
"""Longest time until all that wait are read again: bounds the lateness of what no bell told of."""
SHORTEST_NAP_SECONDS = 0.25
"""A due job that could not be claimed is locked by somebody's open transaction: no use asking at once."""


class Waiting:
    """Of one process and the jobs of one type. Times are those of the event loop."""

    def __init__(self) -> None:
        self.next_due = 0.0
        """When the next look for what is due has to be."""
        self._all_read = 0.0
        self._unknown = True
        self._delayed = False

    def may_be_more(self) -> None:
        """A bell rang, chains changed, there was no room: the next look reads all that wait."""
        self._unknown = True

    def delayed(self) -> None:
        """A job of our own was put off."""
        self._delayed = True

    def since(self, now: float) -> float | None:
        """A look begins: it reads jobs that fell due since then; None: all. To be asked before the tables are read, so
        that what rings meanwhile makes the next look read all."""
        if not self._unknown and now < self.next_due:
            return self._all_read - MARGIN_SECONDS
        self._all_read, self._unknown = now, False
        return None

    def is_to_be_asked(self, since: float | None) -> bool:
        """Whether the time of the next due job may be another one, after a look that read as far as ``since``."""
        return since is None or self._delayed

    def note(self, since: float | None, seconds: float | None, now: float) -> None:
        """The next one is due in ``seconds`` (None: none waits). Only a look at all puts off the next look at all."""
        self._delayed = False
        wait = DUE_CHECK_SECONDS if seconds is None else min(max(seconds, SHORTEST_NAP_SECONDS), DUE_CHECK_SECONDS)
        self.next_due = now + wait if since is None else min(now + wait, self.next_due)
