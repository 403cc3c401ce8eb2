"""Calls to nodes that this process made: how many of each method, how they ended, and how long they took."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

ANSWERED = "answered"
_MOST = 2_000
"""Different ones that are told apart: names of methods are ours, codes of failures are a few."""


@dataclass(slots=True)
class NodeCalls:
    """Counts since the start of the process."""

    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By node (its origin, without secrets), method, and result: ``answered`` or the code of the failure."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Of requests, by node."""
    requests: Counter[str] = field(default_factory=Counter)
    """By node: one has several calls where they are sent as a batch."""

    def note(self, node: str, methods: Iterable[str], result: str, seconds: float) -> None:
        """One request and the calls in it."""
        for method in methods:
            key = (node, method, result)
            if key in self.calls or len(self.calls) < _MOST:
                self.calls[key] += 1
        self.seconds[node] += seconds
        self.requests[node] += 1


CALLS = NodeCalls()
"""Of this process."""


def methods_of(path: str, body: Any) -> Iterator[str]:
    """The methods that a request calls: of JSON-RPC those of its body, else its path."""
    calls = body if isinstance(body, list) else [body]
    for call in calls:
        method = call.get("method") if isinstance(call, dict) else None
        yield method if isinstance(method, str) else path
