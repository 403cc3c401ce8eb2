"""Stands between a provider and anvil and does to calls what real networks and vendors do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import aiohttp
from aiohttp import web

from pipeline.curve.keccak import keccak256

SEND = "eth_sendRawTransaction"


class ProxyFault(StrEnum):
    LOST_REPLY = "lost reply"
    """Forwarded, and then hung up."""
    LOST_REQUEST = "lost request"
    LATE = "late"
    """Forwarded; the answer waits."""
    DUPLICATED = "duplicated"
    """Forwarded twice; the second answer comes."""
    FALSE_HASH = "false hash"
    HTML = "html"
    TOO_MANY = "429"
    BANNED = "403"
    SUSPENDED = "503"
    LIMIT = "-32005"
    BUSY = "busy"
    SWALLOWED = "swallowed"
    """A broadcast is answered as if it were pooled, and thrown away."""
    NO_RECEIPTS = "no receipts"
    """As a node that has pruned them."""
    OTHER_RECEIPT = "other receipt"
    """The receipt of another transaction."""
    NO_BATCHES = "no batches"
    """One error in place of a list."""


@dataclass(slots=True)
class Plan:
    """A fault, and which calls it meets."""

    fault: ProxyFault
    method: str | None
    """None: all."""
    left: int | None
    """HTTP requests; None: until calm."""
    seconds: float | None = None
    """How late what is LATE is, and what a ban says of its length."""


class FaultProxy:
    """One node as a provider sees it."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self.url = ""
        self.plans: list[Plan] = []
        self.released = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def before(cls, upstream: str, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        """One that stands before the node ``upstream``. ``host``: the address it listens on."""
        async with aiohttp.ClientSession() as session:
            proxy = cls(upstream, session)
            application = web.Application(client_max_size=16 * 2**20)
            application.router.add_post("/{path:.*}", proxy.handle)
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, host, 0)
            await site.start()
            proxy.url = f"http://{host}:{runner.addresses[0][1]}"
            try:
                yield proxy
            finally:
                proxy.calm()
                await runner.cleanup()

    def plan(
        self, fault: ProxyFault, method: str | None = None, count: int | None = 1, *, seconds: float | None = None
    ) -> Plan:
        """Spoil the next ``count`` calls of ``method``. What is LATE waits so long, or for ``released``."""
        plan = Plan(fault, method, count, seconds)
        self.plans.append(plan)
        return plan

    def calm(self) -> None:
        """End all faults."""
        self.plans.clear()
        self.released.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one HTTP request, a call or a list of them."""
        body = await request.json()
        calls = body if isinstance(body, list) else [body]
        plan = self._next_plan(calls)
        fault = plan.fault if plan else None
        if fault is ProxyFault.LOST_REQUEST:
            return _hang_up(request)
        refused = _refusal(plan)
        if refused is not None:
            return refused
        if fault in (ProxyFault.LIMIT, ProxyFault.BUSY):
            code, message = (-32005, "limit exceeded") if fault is ProxyFault.LIMIT else (-32000, "server busy")
            answers = [error(one, code, message) for one in calls]
            return web.json_response(answers if isinstance(body, list) else answers[0])
        if fault is ProxyFault.NO_BATCHES and isinstance(body, list):
            return web.json_response(error({"id": None}, -32600, "batch requests are not supported"))
        if fault is ProxyFault.SWALLOWED:
            answers = [{"jsonrpc": "2.0", "id": one["id"], "result": txid(one["params"][0])} for one in calls]
            return web.json_response(answers if isinstance(body, list) else answers[0])
        if fault is ProxyFault.DUPLICATED:
            await self._answers(calls)
        answers = await self._answers(calls)
        if fault is ProxyFault.LOST_REPLY:
            return _hang_up(request)
        if plan is not None and fault is ProxyFault.LATE:
            await (self.released.wait() if plan.seconds is None else asyncio.sleep(plan.seconds))
        if fault in (ProxyFault.NO_RECEIPTS, ProxyFault.OTHER_RECEIPT):
            answers = [_forgotten(one, answer, fault) for one, answer in zip(calls, answers, strict=True)]
        if fault is ProxyFault.FALSE_HASH:
            answers = json.loads(json.dumps(answers), object_hook=_falsified)
        return web.json_response(answers if isinstance(body, list) else answers[0])

    def _next_plan(self, calls: list[dict[str, Any]]) -> Plan | None:
        for plan in self.plans:
            if plan.method is None or any(one["method"] == plan.method for one in calls):
                if plan.left is not None:
                    plan.left -= 1
                    if plan.left == 0:
                        self.plans.remove(plan)
                return plan
        return None

    async def _answers(self, calls: list[dict[str, Any]]) -> list[Any]:
        return [await self.answer(one) for one in calls]

    async def answer(self, call: dict[str, Any]) -> Any:
        """What the node says to one call."""
        async with self._session.post(self._upstream, json=call) as response:
            return await response.json()


def _refusal(plan: Plan | None) -> web.Response | None:
    fault = plan.fault if plan else None
    if fault is ProxyFault.HTML:
        return web.Response(text="<!DOCTYPE html><html><body>Bad Gateway</body></html>", content_type="text/html")
    if fault is ProxyFault.TOO_MANY:
        return web.Response(status=429, text="Too Many Requests")
    if plan is not None and fault is ProxyFault.BANNED:
        told = {} if plan.seconds is None else {"Retry-After": f"{plan.seconds:g}"}
        return web.Response(status=403, text="Forbidden", headers=told)
    if fault is ProxyFault.SUSPENDED:
        return web.Response(status=503, text="exceeded the allowed_rps, suspended for 5 s")
    return None


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:  # else the client was quicker
        request.transport.close()
    return web.Response()


def error(call: dict[str, Any], code: int, message: str) -> dict[str, Any]:
    """An answer that is one."""
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}


def _falsified(value: dict[str, Any]) -> dict[str, Any]:
    """Every transaction's hash turned into another."""
    for name in ("transactionHash", "hash", "result"):
        found = value.get(name)
        if isinstance(found, str) and len(found) == 66:
            value[name] = found[:-1] + ("0" if found[-1] != "0" else "1")
    return value


def _forgotten(call: dict[str, Any], answer: dict[str, Any], fault: ProxyFault) -> dict[str, Any]:
    if call["method"] != "eth_getTransactionReceipt" or answer.get("result") is None:
        return answer
    return {**answer, "result": None} if fault is ProxyFault.NO_RECEIPTS else _falsified_receipt(answer)


def _falsified_receipt(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "result": _falsified(dict(answer["result"]))}


def txid(raw: str) -> str:
    """The hash of signed bytes in hex."""
    return "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
