"""HTTP in front of a node: routes, parsing, and the faults that spoil an answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from pipeline.devnet import api_blocks as blocks
from pipeline.devnet import api_transactions as transactions
from pipeline.devnet.api_blocks import ApiError, Call, Handler
from pipeline.devnet.encoding import sha256
from pipeline.devnet.faults import Fault, FaultKind
from pipeline.devnet.nodes import Node
from pipeline.devnet.transactions import Code, Rejected, SignedTransaction

NODE = web.AppKey("node", Node)
BOTH: dict[str, Handler] = {
    "getnowblock": blocks.get_now_block,
    "getblock": blocks.get_block,
    "getblockbynum": blocks.get_block_by_num,
    "getblockbyid": blocks.get_block_by_id,
    "getblockbylimitnext": blocks.get_block_by_limit_next,
    "getblockbylatestnum": blocks.get_block_by_latest_num,
    "gettransactionbyid": blocks.get_transaction_by_id,
    "gettransactioninfobyid": blocks.get_transaction_info_by_id,
    "gettransactioninfobyblocknum": blocks.get_transaction_info_by_block_num,
    "getaccount": blocks.get_account,
    "getnodeinfo": blocks.get_node_info,
    "listwitnesses": blocks.list_witnesses,
    "getenergyprices": blocks.get_energy_prices,
    "getbandwidthprices": blocks.get_bandwidth_prices,
    "triggerconstantcontract": transactions.trigger_constant_contract,
    "estimateenergy": transactions.estimate_energy,
}
FULL_ONLY: dict[str, Handler] = {
    "getaccountresource": blocks.get_account_resource,
    "getaccountnet": blocks.get_account_net,
    "getcontract": blocks.get_contract,
    "getcontractinfo": blocks.get_contract_info,
    "getchainparameters": blocks.get_chain_parameters,
    "gettransactionlistfrompending": blocks.get_transaction_list_from_pending,
    "gettransactionfrompending": blocks.get_transaction_from_pending,
    "getpendingsize": blocks.get_pending_size,
    "listnodes": blocks.list_nodes,
    "validateaddress": blocks.validate_address,
    "createtransaction": transactions.create_transaction,
    "deploycontract": transactions.deploy_contract,
    "triggersmartcontract": transactions.trigger_smart_contract,
    "broadcasttransaction": transactions.broadcast_transaction,
    "broadcasthex": transactions.broadcast_hex,
    "getsignweight": transactions.get_sign_weight,
    "getapprovedlist": transactions.get_approved_list,
}
ROUTES = {f"wallet/{name}": handler for name, handler in (BOTH | FULL_ONLY).items()}
ROUTES |= {f"walletsolidity/{name}": handler for name, handler in BOTH.items()}

_PAGE = "<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>"
_BODY_LIMIT = 20 * 1024 * 1024


def node_app(node: Node) -> web.Application:
    app = web.Application(client_max_size=_BODY_LIMIT)
    app[NODE] = node
    app.router.add_route("*", "/{room:wallet|walletsolidity}/{method}", _serve)
    return app


async def _serve(request: web.Request) -> web.StreamResponse:
    node = request.app[NODE]
    path = f"{request.match_info['room']}/{request.match_info['method']}"
    handler = ROUTES.get(path)
    if handler is None:
        return web.Response(status=404, text=_PAGE.format(status="404 Not Found"), content_type="text/html")
    body = await request.text()
    fault = node.faults.take(path)

    def process() -> Any:
        return _answer(handler, node, path, request, body)

    if fault is None:
        return _reply(process())
    return await _SPOIL[fault.kind](request, fault, process, body)


def _answer(handler: Handler, node: Node, path: str, request: web.Request, body: str) -> Any:
    try:
        params = _parameters(request, body)
        visible = str(params.get("visible", False)).lower() == "true"
        return handler(Call(node, params, visible, path.startswith("walletsolidity/")))
    except ApiError as error:
        return {"Error": str(error)}
    except Rejected as error:
        return {"Error": f"class org.tron.core.exception.ContractValidateException : {error.message}"}


def _parameters(request: web.Request, body: str) -> dict[str, Any]:
    if not body.strip():
        return dict(request.query)
    try:
        params = json.loads(body)
    except ValueError as error:
        raise ApiError(f"class com.alibaba.fastjson.JSONException : {error}") from error
    if not isinstance(params, dict):
        raise ApiError("class java.lang.ClassCastException : the body is not a JSON object")
    return params


def _reply(answer: Any) -> web.Response:
    return web.json_response(answer)


# -- faults: each gets the request, the rule, the work to do, and the body

Spoiler = Callable[[web.Request, Fault, Callable[[], Any], str], Awaitable[web.StreamResponse]]


def _hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport:
        request.transport.abort()
    return web.Response()


async def _lost_request(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    return _hang_up(request)


async def _lost_reply(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    process()
    return _hang_up(request)


async def _late_reply(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    answer = process()
    await asyncio.sleep(fault.seconds)
    return _reply(answer)


async def _late_request(
    request: web.Request, fault: Fault, process: Callable[[], Any], body: str
) -> web.StreamResponse:
    async def later() -> Any:
        await asyncio.sleep(fault.seconds)
        return process()

    return _reply(await asyncio.shield(asyncio.ensure_future(later())))


async def _duplicated(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    process()
    return _reply(process())


async def _false_txid(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    return _reply(_with_false_txids(process()))


async def _false_reply(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    if fault.process:
        process()
    return web.json_response(fault.body, status=fault.status)


async def _false_code(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    if fault.process:
        process()
    return _reply(_broadcast_answer(request, body, fault.code, fault.message))


async def _swallowed(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    return _reply(_broadcast_answer(request, body, Code.SUCCESS, ""))


async def _server_busy(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    if "broadcast" in request.path:
        return _reply(_broadcast_answer(request, body, Code.SERVER_BUSY, "Server busy."))
    return _reply({"Error": "class java.lang.IllegalAccessException : lack of computing resources"})


async def _too_many(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    return web.Response(status=429, text="Too Many Requests")


async def _banned(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    message = "request rate exceeded the allowed_rps(3), and the query server is suspended for 30 seconds"
    return web.json_response({"Success": False, "Error": message, "StatusCode": 403}, status=403)


async def _suspended(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    seconds = f"{fault.seconds or 5:g}"
    message = f"The key exceeds the frequency limit(15), exceeded the allowed_rps, and the query server is suspended for {seconds}s"
    return web.json_response({"Error": message}, status=503)


async def _html(request: web.Request, fault: Fault, process: Callable[[], Any], body: str) -> web.StreamResponse:
    return web.Response(status=fault.status, text=_PAGE.format(status="502 Bad Gateway"), content_type="text/html")


_SPOIL: dict[FaultKind, Spoiler] = {
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


def _broadcast_answer(request: web.Request, body: str, code: str, message: str) -> Any:
    params = json.loads(body)
    if request.path.endswith("broadcasthex"):
        txid = SignedTransaction.decode(bytes.fromhex(params["transaction"])).id
        return {"result": code == Code.SUCCESS, "code": code, "message": message, "txid": txid}
    if code == Code.SUCCESS:
        return {"result": True, "txid": params.get("txID")}
    return transactions.refusal(code, message, params.get("txID", ""), bool(params.get("visible")))


def _with_false_txids(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_with_false_txids(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    names = ("txid", "txID", "id")
    return {
        name: sha256(value.encode()).hex() if name in names and isinstance(value, str) else _with_false_txids(value)
        for name, value in answer.items()
    }
