"""Stands between a provider and anvil and does to calls what real networks and vendors do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp import web
from Crypto.Hash import keccak

SEND = "eth_sendRawTransaction"


class Fault(StrEnum):
    LOST_REPLY = "lost reply"
    """Forwarded, and then hung up."""
    LOST_REQUEST = "lost request"
    LATE = "late"
    """Forwarded; the answer waits for ``FaultProxy.released``."""
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

    fault: Fault
    method: str | None
    """None: all."""
    left: int | None
    """HTTP requests; None: until calm."""


class FaultProxy:
    """One node as a provider sees it."""

    finality_depth = 2
    """Blocks on top of one that make it final, where the node has one slot in an epoch."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self.url = ""
        self.plans: list[Plan] = []
        self.released = asyncio.Event()
        self.requests = 0
        """HTTP requests that came."""
        self.methods: list[str] = []
        """Called so far."""
        self._frozen_at: int | None = None
        self._remembered: set[str] = set()
        self.missing_methods: set[str] = set()
        """Answered with "method not found"."""
        self.pinned: dict[str, Any] = {}
        """Results by method, whatever the node says."""
        self.refuses_overrides = False
        """Of another code for an account, in eth_call."""
        self.largest_range: int | None = None
        """Blocks that it gives logs of; it refuses more."""
        self.most_logs: int | None = None
        """In one answer; it refuses to give more."""
        self.paths: list[str] = []
        """Asked for, with whatever key is in them."""

    def plan(
        self, fault: Fault, method: str | None = None, count: int | None = 1, *, late_seconds: float | None = None
    ) -> Plan:
        """Spoil the next ``count`` calls of ``method``. What is LATE waits for ``released``, or so many seconds."""
        plan = Plan(fault, method, count)
        self.plans.append(plan)
        if late_seconds is not None:
            self.released.clear()
            asyncio.get_running_loop().call_later(late_seconds, self.released.set)
        return plan

    def calm(self) -> None:
        self.plans.clear()
        self.released.set()

    def freeze(self, height: int) -> None:
        """From now on it knows no block above, and keeps what it is sent to itself."""
        self._frozen_at = height

    def remember(self, txid: str) -> None:
        """It says that it knows this one, whatever became of it."""
        self._remembered.add(txid)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        calls = body if isinstance(body, list) else [body]
        self.requests += 1
        self.paths.append(request.path)
        self.methods += [one["method"] for one in calls]
        fault = self._next_fault(calls)
        if fault is Fault.LOST_REQUEST:
            return _hang_up(request)
        refused = _refusal(fault)
        if refused is not None:
            return refused
        if fault in (Fault.LIMIT, Fault.BUSY):
            code, message = (-32005, "limit exceeded") if fault is Fault.LIMIT else (-32000, "server busy")
            answers = [_error(one, code, message) for one in calls]
            return web.json_response(answers if isinstance(body, list) else answers[0])
        if fault is Fault.NO_BATCHES and isinstance(body, list):
            return web.json_response(_error({"id": None}, -32600, "batch requests are not supported"))
        if fault is Fault.SWALLOWED:
            answers = [{"jsonrpc": "2.0", "id": one["id"], "result": _txid(one["params"][0])} for one in calls]
            return web.json_response(answers if isinstance(body, list) else answers[0])
        if fault is Fault.DUPLICATED:
            await self._answers(calls)
        answers = await self._answers(calls)
        if fault is Fault.LOST_REPLY:
            return _hang_up(request)
        if fault is Fault.LATE:
            await self.released.wait()
        if fault in (Fault.NO_RECEIPTS, Fault.OTHER_RECEIPT):
            answers = [_forgotten(one, answer, fault) for one, answer in zip(calls, answers, strict=True)]
        if fault is Fault.FALSE_HASH:
            answers = json.loads(json.dumps(answers), object_hook=_falsified)
        return web.json_response(answers if isinstance(body, list) else answers[0])

    def _next_fault(self, calls: list[dict[str, Any]]) -> Fault | None:
        for plan in self.plans:
            if plan.method is None or any(one["method"] == plan.method for one in calls):
                if plan.left is not None:
                    plan.left -= 1
                    if plan.left == 0:
                        self.plans.remove(plan)
                return plan.fault
        return None

    async def _answers(self, calls: list[dict[str, Any]]) -> list[Any]:
        return [await self._answer(one) for one in calls]

    async def _answer(self, call: dict[str, Any]) -> Any:
        if call["method"] in self.missing_methods:
            return _error(call, -32601, f"the method {call['method']} does not exist/is not available")
        if call["method"] in self.pinned:
            return {"jsonrpc": "2.0", "id": call["id"], "result": self.pinned[call["method"]]}
        if self.refuses_overrides and call["method"] == "eth_call" and len(call["params"]) > 2:
            return _error(call, -32602, "too many arguments, want at most 2")
        if call["method"] == "eth_getLogs" and self.largest_range is not None:
            first, last = (int(call["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first + 1 > self.largest_range:
                return _error(call, -32000, f"exceed maximum block range: {self.largest_range}")
        if call["method"] == SEND:
            txid = _txid(call["params"][0])
            if txid in self._remembered:
                return _error(call, -32000, "already known")
            if self._frozen_at is not None:
                return {"jsonrpc": "2.0", "id": call["id"], "result": txid}
        if self._frozen_at is not None:
            call = {**call, "params": [self._stale(one) for one in call["params"]]}
        async with self._session.post(self._upstream, json=call) as response:
            answer = await response.json()
        if call["method"] == "eth_getLogs" and len(answer.get("result", ())) > (self.most_logs or 10_000):
            return _error(call, -32005, f"query returned more than {self.most_logs} results")
        return answer if self._frozen_at is None else self._without_newer(call, answer, self._frozen_at)

    def _stale(self, parameter: Any) -> Any:
        assert self._frozen_at is not None  # noqa: S101 - for the type checker
        if parameter in ("latest", "pending"):
            return hex(self._frozen_at)
        return hex(max(0, self._frozen_at - self.finality_depth)) if parameter == "finalized" else parameter

    def _without_newer(self, call: dict[str, Any], answer: Any, height: int) -> Any:
        result = answer.get("result")
        if call["method"] == "eth_blockNumber":
            return {**answer, "result": hex(height)}
        number = (result.get("blockNumber") or result.get("number")) if isinstance(result, dict) else None
        return {**answer, "result": None} if number and int(number, 16) > height else answer


@asynccontextmanager
async def fault_proxy(upstream: str, host: str = "127.0.0.1") -> AsyncIterator[FaultProxy]:
    """``host``: the address it listens on."""
    async with aiohttp.ClientSession() as session:
        proxy = FaultProxy(upstream, session)
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


def _refusal(fault: Fault | None) -> web.Response | None:
    if fault is Fault.HTML:
        return web.Response(text="<!DOCTYPE html><html><body>Bad Gateway</body></html>", content_type="text/html")
    if fault is Fault.TOO_MANY:
        return web.Response(status=429, text="Too Many Requests")
    if fault is Fault.BANNED:
        return web.Response(status=403, text="Forbidden")
    if fault is Fault.SUSPENDED:
        return web.Response(status=503, text="exceeded the allowed_rps, suspended for 5 s")
    return None


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:  # else the client was quicker
        request.transport.close()
    return web.Response()


def _error(call: dict[str, Any], code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}}


def _falsified(value: dict[str, Any]) -> dict[str, Any]:
    """Every transaction's hash turned into another."""
    for name in ("transactionHash", "hash", "result"):
        found = value.get(name)
        if isinstance(found, str) and len(found) == 66:
            value[name] = found[:-1] + ("0" if found[-1] != "0" else "1")
    return value


def _forgotten(call: dict[str, Any], answer: dict[str, Any], fault: Fault) -> dict[str, Any]:
    if call["method"] != "eth_getTransactionReceipt" or answer.get("result") is None:
        return answer
    return {**answer, "result": None} if fault is Fault.NO_RECEIPTS else _falsified_receipt(answer)


def _falsified_receipt(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "result": _falsified(dict(answer["result"]))}


def _txid(raw: str) -> str:
    return "0x" + keccak.new(digest_bits=256, data=bytes.fromhex(raw[2:])).hexdigest()
