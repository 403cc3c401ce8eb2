"""What a node said a moment ago, for all who ask in the meantime: prices, block references, accounts."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from pipeline.chains.rpc.http import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_MOST = 4_096
"""Answers kept at once; the oldest go first."""


class KeptAnswers(Generic[Key, Value]):
    """Answers by key, each ``seconds`` old at the most. Who asks while one is being read shares it, its error, too."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._answers: dict[Key, tuple[float, asyncio.Future[Value]]] = {}

    async def get(self, key: Key, read: Callable[[], Awaitable[Value]]) -> Value:
        """The answer, read now where there is none so young. Raises what ``read`` raises; nothing of that is kept."""
        now = self._clock.monotonic()
        read_at, answer = self._answers.get(key, (0.0, None))
        if answer is None or (answer.done() and (now - read_at >= self._seconds or _has_failed(answer))):
            self._answers.pop(key, None)
            while len(self._answers) >= _MOST:
                del self._answers[next(iter(self._answers))]
            answer = asyncio.ensure_future(read())
            self._answers[key] = now, answer
        return await asyncio.shield(answer)


def _has_failed(answer: asyncio.Future[Value]) -> bool:
    return answer.cancelled() or answer.exception() is not None
