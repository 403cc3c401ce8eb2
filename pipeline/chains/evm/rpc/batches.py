"""Several questions in one HTTP body, as many as the node takes.

Nodes have limits on batches and no way to say them: an error in place of a list, a list of one, the same error for
each, HTTP 413 or 500, answers that are missing or given twice. What a batch leaves open is asked in halves and then
singly, and the size that passed is remembered for a while.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from pipeline.chains.evm.rpc.replies import RESPONSE_TOO_LARGE, RateLimited, Request, RpcError, body_of, result_of
from pipeline.chains.rpc.http import TOO_LARGE, Clock, JsonObject, Node, NodeFailure

LARGEST_BATCH = 100
"""Requests in one HTTP body; vendors' limits are 10 to 1,000."""
SIZE_KEPT_SECONDS = 600.0
"""Until twice as many are tried again: what looked like a limit may have been a bad minute."""

_ABOUT_SIZE = frozenset({TOO_LARGE, "shape", *(f"http {status}" for status in (400, 405, 413, 500, 501, 502, 504))})
"""Failures of a whole batch that a smaller one may not have."""
_ABOUT_BATCH = re.compile(r"batch|response (size|is )?too (large|big)|response size", re.IGNORECASE)

Post = Callable[[JsonObject | list[JsonObject], str], Awaitable[Any]]
"""Sends one body; the words are what it asks, for messages."""


class BatchedCalls:
    """The batches of one node."""

    def __init__(self, node: Node, post: Post, clock: Clock) -> None:
        self.size = LARGEST_BATCH
        """Requests that one body may have now; 1: it takes no batches."""
        self._node = node
        self._post = post
        self._clock = clock
        self._ids = count(1)
        self._grow_at = 0.0
        self._waiting: list[tuple[Sequence[Request], asyncio.Future[list[Any]]]] = []
        """What was asked in this turn of the event loop."""
        self._asking: set[asyncio.Task[None]] = set()

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """The result of one request, by itself. Raises RpcError, RateLimited, NodeFailure."""
        answer = await self._post(body_of(next(self._ids), method, params), method)
        return result_of(self._node, method, answer)

    async def join(self, requests: Sequence[Request]) -> list[Any]:
        """As ``ask``, with all that is joined in the same turn of the event loop: many payments of one moment ask for
        the same few things each."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((requests, answers))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._send_waiting)
        return await answers

    def _send_waiting(self) -> None:
        """Those that were asked together stay together, where they fit."""
        waiting, self._waiting = self._waiting, []
        while waiting:
            size, taken = 0, 0
            for requests, _ in waiting:
                if taken and size + len(requests) > self.size:
                    break
                size, taken = size + len(requests), taken + 1
            asking = asyncio.create_task(self._answer(waiting[:taken]))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
            waiting = waiting[taken:]

    async def _answer(self, joined: Sequence[tuple[Sequence[Request], asyncio.Future[list[Any]]]]) -> None:
        try:
            found = await self.ask([request for requests, _ in joined for request in requests])
        except Exception as trouble:
            for _, answers in joined:
                if not answers.done():
                    answers.set_exception(trouble)
                    answers.exception()  # who asked may be gone
            return
        for requests, answers in joined:
            own, found = found[: len(requests)], found[len(requests) :]
            if not answers.done():
                answers.set_result(own)

    async def ask(self, requests: Sequence[Request]) -> list[Any]:
        """The results in the order of the requests; in place of one that failed its RpcError, and the NodeFailure of
        one whose answer alone is too large. Raises RateLimited, NodeFailure."""
        if self.size < LARGEST_BATCH and self._clock.monotonic() >= self._grow_at:
            self.size = min(LARGEST_BATCH, 2 * self.size)
            self._grow_at = self._clock.monotonic() + SIZE_KEPT_SECONDS
        answers: list[Any] = []
        while len(answers) < len(requests):
            answers += await self._part(requests[len(answers) : len(answers) + self.size])
        return answers

    async def _part(self, part: Sequence[Request]) -> list[Any]:
        """At most ``size`` requests, or fewer because a larger part was not answered."""
        if len(part) == 1:
            return [await self._alone(*part[0])]
        smaller = max(1, len(part) // 2)
        try:
            answers = await self._together(part)
        except RateLimited:
            # Some count the requests of a batch one by one: a smaller one passes.
            self._remember(smaller)
            raise
        except NodeFailure as failure:
            if failure.code == "http 429":
                self._remember(smaller)
            if failure.code not in _ABOUT_SIZE:
                raise
            answers = {}
        open_ones = [place for place in range(len(part)) if place not in answers]
        if len(open_ones) == 0 and all(isinstance(one, RpcError) for one in answers.values()):
            first = await self._alone(*part[0])
            if isinstance(first, RpcError):
                return list(answers.values())
            answers, open_ones = {0: first}, list(range(1, len(part)))
        for start in range(0, len(open_ones), smaller):
            places = open_ones[start : start + smaller]
            answers |= zip(places, await self._part([part[place] for place in places]), strict=True)
        if open_ones:
            self._remember(smaller)
        return [answers[place] for place in range(len(part))]

    async def _together(self, part: Sequence[Request]) -> dict[int, Any]:
        """By place in ``part``, the answers that one body brought. Raises RateLimited, NodeFailure."""
        bodies = [body_of(next(self._ids), method, params) for method, params in part]
        answer = await self._post(list(bodies), f"{len(bodies)} requests")
        if not isinstance(answer, list):
            # One error for all; or, in the place of a list, something of no form at all.
            self._result("a batch", answer)
            return {}
        by_id: dict[str, Any] = {}
        twice: set[str] = set()
        for one in answer:
            if isinstance(one, dict) and isinstance(one.get("id"), int | str):
                number = str(one["id"])[:20]
                twice |= {number} & by_id.keys()
                by_id[number] = one
        answers = {}
        for place, body in enumerate(bodies):
            number = str(body["id"])
            if number not in by_id or number in twice:
                continue
            try:
                found = self._result(body["method"], by_id[number])
            except NodeFailure as failure:
                if failure.code != "shape":
                    raise
                continue
            if not _is_about_batch(found):
                answers[place] = found
        return answers

    async def _alone(self, method: str, params: Sequence[Any]) -> Any:
        try:
            return await self.call(method, params)
        except NodeFailure as failure:
            if isinstance(failure, RpcError) or failure.code == TOO_LARGE:
                return failure
            raise

    def _result(self, method: str, answer: Any) -> Any:
        try:
            return result_of(self._node, method, answer)
        except RpcError as error:
            return error

    def _remember(self, size: int) -> None:
        self.size = min(self.size, size)
        self._grow_at = self._clock.monotonic() + SIZE_KEPT_SECONDS


def _is_about_batch(found: Any) -> bool:
    """An error of one answer that is none of its question."""
    return isinstance(found, RpcError) and (
        found.rpc_code == RESPONSE_TOO_LARGE or _ABOUT_BATCH.search(found.reason) is not None
    )
