"""What is wrong with a process, as it says in ``worker_registry.last_error``: one text of each source.

Several parts of a process have something to say, and none of them knows when another's trouble is over. So each says
and takes back its own, and the heartbeat shows them together.
"""

from collections.abc import Callable


class Troubles:
    """What the parts of one process say at the moment."""

    def __init__(self, show: Callable[[], None]) -> None:
        """``show`` is called when there is something new. What is over goes with the next heartbeat: a node that
        comes and goes makes no storm of them."""
        self._show = show
        self._texts: dict[str, str] = {}

    def say(self, source: str, text: str) -> None:
        """``text`` is wrong by what ``source`` knows, instead of what it said before; empty: nothing is, any more."""
        if not text:
            self._texts.pop(source, None)
        elif self._texts.get(source) != text:
            self._texts[source] = text
            self._show()

    def __str__(self) -> str:
        """All of it in one line, the oldest source first; empty when nothing is wrong."""
        return "; ".join(self._texts.values())
