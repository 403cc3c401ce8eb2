"""A node that answers exactly what a test tells it to, over real HTTP."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GENESIS = "0" * 16 + "aa" * 24


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; ``drop`` closes the connection without any."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False


Script = Callable[[dict[str, Any]], Any]


@dataclass(slots=True)
class ScriptedNode:
    """``answers[path]`` is a value or a function of the request's body; ``faults`` come first, once each."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    faults: list[Answer] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        self.asked.append(path)
        self.keys.append(request.headers.get("TRON-PRO-API-KEY"))
        if self.faults:
            answer = self.faults.pop(0)
        elif path in self.answers:
            answer = self.answers[path]
        else:
            answer = Answer("Not Found", 404)
        if callable(answer):
            answer = answer(await request.json())
        if not isinstance(answer, Answer):
            answer = Answer(answer)
        if answer.drop:
            assert request.transport is not None
            request.transport.close()
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        return web.Response(text=text, status=answer.status, headers=answer.headers)


@asynccontextmanager
async def scripted_node(**answers: Any) -> AsyncIterator[ScriptedNode]:
    """A running one on a free port; keyword ``wallet_x`` is the path ``wallet/x``."""
    node = ScriptedNode(answers={name.replace("_", "/", 1): answer for name, answer in answers.items()})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", node.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield node
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
