"""What comes while a batch is under way forms the next one: a single item goes at once, as a batch of one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """One batch at a time, in the order in which items come."""

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        most: int,
        *,
        gather_seconds: float = 0.0,
    ) -> None:
        """``work`` gives one result, or the trouble in its place, for each item of a batch of at most ``most``; what it
        raises is the trouble of all of them. ``gather_seconds``: others are waited for before a batch begins."""
        self._work = work
        self._most = most
        self._gather_seconds = gather_seconds
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._working: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Result:
        """The item's result. Who gives up waiting takes back what has not begun; what has is brought to its end.

        Raises the item's trouble."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_on())
        return await result

    async def _work_on(self) -> None:
        while self._waiting:
            if self._gather_seconds:
                await asyncio.sleep(self._gather_seconds)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            batch = [(item, result) for item, result in batch if not result.done()]
            if batch:
                await self._work_together(batch)

    async def _work_together(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as trouble:
            results = [trouble] * len(batch)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                for _, waiter in batch:
                    waiter.cancel()
                raise
            results = [TimeoutError("a step of its batch was cancelled")] * len(batch)
        except BaseException as ended:  # what ends the process is the waiters' to raise
            for _, waiter in batch:
                if not waiter.done():
                    waiter.set_exception(ended)
            return
        for (_, waiter), result in zip(batch, results, strict=True):
            if waiter.done():
                continue
            if isinstance(result, Exception):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)
