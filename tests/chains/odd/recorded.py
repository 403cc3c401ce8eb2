"""What a real node answered, kept and given again: with one answer replaced, as bytes, where a test wants it."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.chains.rpc.wire import Reply, Wire

Ask = Callable[[Any], Awaitable[Any]]
"""One thing that is asked of a provider; gives what it made of the answers."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request, without the ids that JSON-RPC counts, and its reply."""

    question: str
    reply: Reply


@dataclass(slots=True)
class Scene:
    """One thing that is asked, with all that was answered to it and what was made of it."""

    name: str
    ask: Ask
    exchanges: list[Exchange] = field(default_factory=list)
    right: Any = None
    """The result, or the error in its place."""
    checked: frozenset[str] = frozenset()
    """Names of leaves that other answers contradict where they are false: no other result may come of them."""


class Recorder:
    """A wire that notes what passes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.exchanges: list[Exchange] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], limits: Mapping[int, int]) -> Reply:
        reply = await self._wire.post(url, body, headers, limits)
        self.exchanges.append(Exchange(question(url, json.loads(body)), Reply(reply.status, reply.body, {})))
        return reply

    async def close(self) -> None:
        await self._wire.close()


class Replay:
    """A wire that answers as recorded: ``replaced`` in the place of the exchange with the index ``at``; or one answer,
    ``always``, to everything."""

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        at: int | None = None,
        replaced: Reply | None = None,
        *,
        always: Any = None,
    ) -> None:
        self._replies: dict[str, list[Reply]] = {}
        for index, one in enumerate(exchanges):
            reply = replaced if index == at and replaced is not None else one.reply
            self._replies.setdefault(one.question, []).append(reply)
        self._exchanges = exchanges
        self._singly: dict[str, Any] | None = None
        self._always = always
        self.asked = 0

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], limits: Mapping[int, int]) -> Reply:
        self.asked += 1
        asked = json.loads(body)
        if self._always is not None:
            always = self._always
            return always if isinstance(always, Reply) else Reply(200, json.dumps(always).encode(), {})
        replies = self._replies.get(question(url, asked))
        if replies is None:
            return self._of_singles(asked)
        # The same question again has the next answer, and the last one for ever.
        return replies.pop(0) if len(replies) > 1 else replies[0]

    async def close(self) -> None:
        """Nothing is open."""

    def _of_singles(self, asked: Any) -> Reply:
        """What was recorded in batches, for a provider that asks in other ones; the rest nobody knows."""
        if self._singly is None:
            self._singly = {}
            for one in self._exchanges:
                calls, answers = json.loads(one.question), json.loads(one.reply.body)
                if isinstance(calls, list) and calls and isinstance(calls[0], list):
                    self._singly |= {json.dumps(call): answer for call, answer in zip(calls, answers, strict=True)}
        calls = asked if isinstance(asked, list) else [asked]
        if not all("method" in call for call in calls):
            return Reply(404, b"Not Found", {})
        unknown = {"error": {"code": -32000, "message": "header not found"}}
        answers = [
            {**self._singly.get(json.dumps([call["method"], call["params"]]), unknown), "id": call["id"]}
            for call in calls
        ]
        return Reply(200, json.dumps(answers if isinstance(asked, list) else answers[0]).encode(), {})


def question(url: str, asked: Any) -> str:
    """A request in one string: the path of a TRON node and its body, or the calls of an EVM node."""
    if isinstance(asked, list):
        return json.dumps([[call["method"], call["params"]] for call in asked])
    if "method" in asked:
        return json.dumps({"method": asked["method"], "params": asked["params"]})
    return json.dumps({"path": url.split("/", 3)[3], "body": asked})
