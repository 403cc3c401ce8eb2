"""When a process that has ended is started again.

running ──(ended after 10 s or more, or as it was told)──▶ at once
   └────(ended within 10 s)──▶ after 1, 2, 4 … 60 s ──(five times in a row)──▶ given up ──(told to start)──▶ at once
"""

FAST_SECONDS = 10.0
"""A process that ends sooner did not get to work: it would end again at once, and load the database and the nodes."""
MOST_FAST = 5
LONGEST_PAUSE = 60.0


class Restarts:
    """The ends of the processes that follow one another in a slot. Times are seconds of one monotonic clock."""

    def __init__(self, *, gives_up: bool = True) -> None:
        """``gives_up``: whether five fast ends in a row are the last ones."""
        self.fast = 0
        """Fast ends in a row."""
        self.not_before = 0.0
        """When the next process may be started."""
        self._gives_up = gives_up

    @property
    def given_up(self) -> bool:
        """Whether no process is to be started any more."""
        return self._gives_up and self.fast >= MOST_FAST

    def ended(self, began: float, now: float, *, as_told: bool = False) -> float:
        """A process that began then has ended; how long to wait. ``as_told``: it ended because somebody told it to."""
        if as_told or now - began >= FAST_SECONDS:
            self.reset()
            return 0.0
        self.fast += 1
        pause = float(min(2 ** (self.fast - 1), LONGEST_PAUSE))
        self.not_before = now + pause
        return pause

    def reset(self) -> None:
        """Forget all ends: the next process starts at once."""
        self.fast = 0
        self.not_before = 0.0
