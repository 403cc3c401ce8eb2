"""How far back a look at the flags reaches.

A *complete* look reads every flag that is up. While any session of the database holds an old transaction, it walks
over all flags that rose and fell since that began (0.15 µs each, until vacuum may take them away), and a flag that has
just risen would wait for that. So at most one look a second is complete, and the *short* ones in between read what rose
since the last complete one. Nothing is lost by them: a complete look follows every short one, within the second. It
finds what that did not see: a flag that stays up after its job, one that was raised in a transaction longer than the
margin, all of them if a clock was set.
"""

import math

COMPLETE_SECONDS = 1.0
"""Between two complete looks."""
COMPLETE_SHARE = 0.05
"""Of the time, at most: where one takes long, the next one comes later."""
MARGIN_SECONDS = 1.0
"""How far a short look reaches back behind the beginning of the last complete one: for what was not committed then."""


class Looks:
    """Of one process at the flags of one job type. Times are those of the event loop."""

    def __init__(self) -> None:
        self._all_since = -math.inf
        self._next_complete = -math.inf
        self._owed = False
        self._afresh = False

    def reach(self, now: float) -> float | None:
        """How old a flag may be that a look reads now, in seconds; None: it is to be complete."""
        if now < self._next_complete:
            return now - self._all_since + MARGIN_SECONDS
        self._afresh = False
        return None

    def note(self, started: float, reach: float | None, ended: float) -> None:
        """A look has read everything within its reach. One that was under way when all became new does not count."""
        if self._afresh:
            return
        self._owed = reach is not None
        if reach is None:
            self._all_since = started
            self._next_complete = started + max(COMPLETE_SECONDS, (ended - started) / COMPLETE_SHARE)

    def start_afresh(self) -> None:
        """The next look is complete, whatever was seen before: there are new chains, or bells were missed."""
        self._next_complete = -math.inf
        self._afresh = True

    @property
    def next_owed(self) -> float:
        """When a complete look is due because short ones went before; infinity: none is."""
        return self._next_complete if self._owed else math.inf
