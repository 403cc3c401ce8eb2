"""Events at a steady pace, for contestants that wait and for those that await. Needs nothing but Python."""

import asyncio
import time
from collections.abc import Awaitable, Callable

Event = tuple[int, int, int]
"""Number, and the times (ns of the monotonic clock, which all processes share) before and after the call."""


def paced(count: int, rate: float, send: Callable[[int], object]) -> list[Event]:
    """Call ``send`` with 1, 2, … ``count``, ``rate`` times a second; a late one is not made up for."""
    events = []
    interval = 1 / rate
    due = time.monotonic() + interval
    for number in range(1, count + 1):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + interval, time.monotonic())
        before = time.monotonic_ns()
        send(number)
        events.append((number, before, time.monotonic_ns()))
    return events


async def paced_async(count: int, rate: float, send: Callable[[int], Awaitable[object]]) -> list[Event]:
    """The same, awaiting ``send``."""
    events = []
    interval = 1 / rate
    due = time.monotonic() + interval
    for number in range(1, count + 1):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due = max(due + interval, time.monotonic())
        before = time.monotonic_ns()
        await send(number)
        events.append((number, before, time.monotonic_ns()))
    return events
