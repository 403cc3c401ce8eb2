"""An odd node: between a provider and a sound node, it replaces values of answers, drawn from a seed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import aiohttp
from aiohttp import web

from tests.chains.odd.odd_values import MISSING, UNPARSABLE, places, replaced

NEVER_RIGHT: tuple[bytes, ...] = (
    b"null",
    MISSING,
    b"-1",
    b"1.5",
    b"1e999",
    b"NaN",
    str(2**256).encode(),
    b"9" * 5_000,
    b'""',
    b'"0x-1"',
    b'"0xzz"',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"a\\u001b[31m\\nforged: all is well"',
    b'"' + b"x" * 20_000 + b'"',
    b"[]",
    b"{}",
    b"[" * 60 + b"]" * 60,
)
"""What is no value of anything that is paid by: a price that is only wrong is another test's."""


class OddProxy:
    """One node as a provider sees it."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, seed: int, share: float) -> None:
        self.url = ""
        self.spoiled = 0
        """Answers that went out odd."""
        self._upstream = upstream
        self._session = session
        self._dice = Random(seed)
        self._share = share

    @classmethod
    @asynccontextmanager
    async def before(cls, upstream: str, *, seed: int, share: float) -> AsyncIterator["OddProxy"]:
        """One before the node ``upstream``; ``share`` of its answers are odd."""
        async with aiohttp.ClientSession() as session:
            proxy = cls(upstream, session, seed, share)
            application = web.Application(client_max_size=16 * 2**20)
            application.router.add_post("/{path:.*}", proxy.handle)
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield proxy
            finally:
                await runner.cleanup()

    async def handle(self, request: web.Request) -> web.Response:
        async with self._session.post(f"{self._upstream}{request.path}", data=await request.read()) as response:
            body, status = await response.read(), response.status
        if self._dice.random() < self._share:
            self.spoiled += 1
            body = self._odd(body)
        return web.Response(body=body, status=status, content_type="application/json")

    def _odd(self, body: bytes) -> bytes:
        if self._dice.random() < 0.1:
            return self._dice.choice(UNPARSABLE)
        answer = json.loads(body)
        return replaced(answer, self._dice.choice(list(places(answer))), self._dice.choice(NEVER_RIGHT))
