"""The shortest schedule that still fails: delta debugging (Zeller's ddmin), bounded in time.

Runs of real processes are not deterministic: a schedule that passes is tried again before it is believed, and what is
left in the end did fail, at least once.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
Fails = Callable[[Sequence[T]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What became of a failing sequence."""

    runs: int
    seconds: float
    complete: bool
    """False: the time was up before nothing more could be left out."""


async def shrink(
    items: Sequence[T], fails: Fails[T], *, seconds: float, tries: int = 2, clock: Callable[[], float] = time.monotonic
) -> tuple[list[T], Shrunk]:
    """The shortest part of ``items`` found for which ``fails`` was true; nothing is tried after ``seconds``.

    ``tries``: how often one that passes is run before it counts as passing."""
    begun, runs = clock(), 0

    def time_is_up() -> bool:
        return clock() >= begun + seconds

    async def still_fails(candidate: Sequence[T]) -> bool:
        nonlocal runs
        for _ in range(tries):
            if time_is_up():
                return False
            runs += 1
            if await fails(candidate):
                return True
        return False

    left, parts = list(items), 2
    while left and not time_is_up():
        shorter = await _shorter(left, parts, still_fails)
        if shorter is not None:
            left, parts = shorter, max(2, min(parts - 1, len(shorter)))
        elif parts >= len(left):
            break
        else:
            parts = min(len(left), 2 * parts)
    return left, Shrunk(runs, clock() - begun, not time_is_up())


async def _shorter(items: list[T], parts: int, still_fails: Fails[T]) -> list[T] | None:
    """One of ``parts`` pieces that fails alone, else all but one of them; None if neither is enough."""
    bounds = [len(items) * number // parts for number in range(parts + 1)]
    pieces = [items[start:end] for start, end in pairwise(bounds) if end > start]
    for piece in pieces:
        if len(piece) < len(items) and await still_fails(piece):
            return piece
    for number in range(len(pieces)):
        rest = [item for place, piece in enumerate(pieces) if place != number for item in piece]
        if rest and len(rest) < len(items) and await still_fails(rest):
            return rest
    return None
