"""What a fault does to a call: one function for each kind."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from google.protobuf.message import DecodeError

from pipeline.devnet.api_transactions import refusal
from pipeline.devnet.encoding import sha256
from pipeline.devnet.faults import Fault, FaultKind
from pipeline.devnet.transactions import Code, WireTransaction

PAGE = "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>"


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A call that a fault acts on."""

    request: web.Request
    fault: Fault
    process: Callable[[], Any]
    """Does what the call asks and returns the honest answer."""
    body: str


async def spoil(call: Spoiled) -> web.StreamResponse:
    return await _WAYS[call.fault.kind](call)


async def _lost_request(call: Spoiled) -> web.StreamResponse:
    return _hang_up(call.request)


async def _lost_reply(call: Spoiled) -> web.StreamResponse:
    call.process()
    return _hang_up(call.request)


async def _late_reply(call: Spoiled) -> web.StreamResponse:
    answer = call.process()
    await asyncio.sleep(call.fault.seconds)
    return web.json_response(answer)


async def _late_request(call: Spoiled) -> web.StreamResponse:
    async def later() -> Any:
        await asyncio.sleep(call.fault.seconds)
        return call.process()

    return web.json_response(await asyncio.shield(asyncio.ensure_future(later())))


async def _duplicated(call: Spoiled) -> web.StreamResponse:
    call.process()
    return web.json_response(call.process())


async def _false_txid(call: Spoiled) -> web.StreamResponse:
    return web.json_response(with_false_txids(call.process()))


async def _false_reply(call: Spoiled) -> web.StreamResponse:
    if call.fault.process:
        call.process()
    return web.json_response(call.fault.body, status=call.fault.status)


async def _false_code(call: Spoiled) -> web.StreamResponse:
    if call.fault.process:
        call.process()
    return web.json_response(_broadcast_answer(call, call.fault.code, call.fault.message))


async def _swallowed(call: Spoiled) -> web.StreamResponse:
    return web.json_response(_broadcast_answer(call, Code.SUCCESS, ""))


async def _server_busy(call: Spoiled) -> web.StreamResponse:
    if "broadcast" in call.request.path:
        return web.json_response(_broadcast_answer(call, Code.SERVER_BUSY, "Server busy."))
    return web.json_response({"Error": "class java.lang.IllegalAccessException : lack of computing resources"})


async def _too_many(call: Spoiled) -> web.StreamResponse:
    return web.Response(status=429, text="Too Many Requests")


async def _banned(call: Spoiled) -> web.StreamResponse:
    seconds = f"{call.fault.seconds or 30:g}"
    message = f"request rate exceeded the allowed_rps(3), and the query server is suspended for {seconds} seconds"
    return web.json_response({"Success": False, "Error": message, "StatusCode": 403}, status=403)


async def _suspended(call: Spoiled) -> web.StreamResponse:
    seconds = f"{call.fault.seconds or 5:g}"
    message = f"The key exceeded the allowed_rps(15), and the query server is suspended for {seconds} s"
    return web.json_response({"Error": message}, status=503)


async def _html(call: Spoiled) -> web.StreamResponse:
    return web.Response(status=call.fault.status, text=PAGE.format(status="502 Bad Gateway"), content_type="text/html")


_WAYS: dict[FaultKind, Callable[[Spoiled], Awaitable[web.StreamResponse]]] = {
    FaultKind.LOST_REQUEST: _lost_request,
    FaultKind.LOST_REPLY: _lost_reply,
    FaultKind.LATE_REPLY: _late_reply,
    FaultKind.LATE_REQUEST: _late_request,
    FaultKind.DUPLICATED: _duplicated,
    FaultKind.FALSE_TXID: _false_txid,
    FaultKind.FALSE_REPLY: _false_reply,
    FaultKind.FALSE_CODE: _false_code,
    FaultKind.SWALLOWED: _swallowed,
    FaultKind.SERVER_BUSY: _server_busy,
    FaultKind.TOO_MANY: _too_many,
    FaultKind.BANNED: _banned,
    FaultKind.SUSPENDED: _suspended,
    FaultKind.HTML: _html,
}


def _hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport:
        request.transport.abort()
    return web.Response()


def _broadcast_answer(call: Spoiled, code: str, message: str) -> Any:
    """What the node would print for ``code``, with the right txid."""
    try:
        params = json.loads(call.body)
        if call.request.path.endswith("broadcasthex"):
            txid = WireTransaction.decode(bytes.fromhex(params["transaction"])).id
            return {"result": code == Code.SUCCESS, "code": code, "message": message, "txid": txid}
        if code == Code.SUCCESS:
            return {"result": True, "txid": params["txID"]}
        return refusal(code, message, params["txID"], bool(params.get("visible")))
    except (ValueError, KeyError, DecodeError) as error:
        return {"Error": f"class java.lang.IllegalArgumentException : {error}"}


def with_false_txids(answer: Any) -> Any:
    """The answer with another id in the place of every txid."""
    if isinstance(answer, list):
        return [with_false_txids(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    names = ("txid", "txID", "id")
    return {
        name: sha256(value.encode()).hex() if name in names and isinstance(value, str) else with_false_txids(value)
        for name, value in answer.items()
    }
