"""HTTP in front of a node: routes and parsing."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pipeline.devnet import api_blocks as blocks
from pipeline.devnet import api_staking as staking
from pipeline.devnet import api_transactions as transactions
from pipeline.devnet.api_blocks import ApiError, Call, Handler
from pipeline.devnet.nodes import DevnetNode
from pipeline.devnet.spoil import PAGE, Spoiled, spoil
from pipeline.devnet.transactions import Rejected

NODE = web.AppKey("node", DevnetNode)
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
    "getaccountbyid": blocks.get_account_by_id,
    "getnodeinfo": blocks.get_node_info,
    "listwitnesses": blocks.list_witnesses,
    "getenergyprices": blocks.get_energy_prices,
    "getbandwidthprices": blocks.get_bandwidth_prices,
    "triggerconstantcontract": transactions.trigger_constant_contract,
    "estimateenergy": transactions.estimate_energy,
    "getavailableunfreezecount": staking.get_available_unfreeze_count,
    "getcanwithdrawunfreezeamount": staking.get_can_withdraw_unfreeze_amount,
    "getReward": staking.get_reward,
    "getBrokerage": staking.get_brokerage,
    "getassetissuelist": staking.nothing,
    "getpaginatedassetissuelist": staking.nothing,
    "listexchanges": staking.nothing,
}
FULL_ONLY: dict[str, Handler] = {
    "getaccountresource": blocks.get_account_resource,
    "getaccountnet": blocks.get_account_net,
    "getcontract": blocks.get_contract,
    "getcontractinfo": blocks.get_contract_info,
    "getchainparameters": blocks.get_chain_parameters,
    "getnextmaintenancetime": blocks.get_next_maintenance_time,
    "gettransactionlistfrompending": blocks.get_transaction_list_from_pending,
    "gettransactionfrompending": blocks.get_transaction_from_pending,
    "getpendingsize": blocks.get_pending_size,
    "listnodes": blocks.list_nodes,
    "listproposals": staking.nothing,
    "getassetissuebyaccount": staking.nothing,
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

_BODY_LIMIT = 20 * 1024 * 1024


def node_app(node: DevnetNode) -> web.Application:
    app = web.Application(client_max_size=_BODY_LIMIT)
    app[NODE] = node
    app.router.add_route("*", "/{room:wallet|walletsolidity}/{method}", _serve)
    return app


async def _serve(request: web.Request) -> web.StreamResponse:
    node = request.app[NODE]
    path = f"{request.match_info['room']}/{request.match_info['method']}"
    if path not in ROUTES:
        return web.Response(status=404, text=PAGE.format(status="404 Not Found"), content_type="text/html")
    body = await request.text()
    fault = node.faults.take(path)

    def process() -> Any:
        return answer(node, path, body, request.query)

    if fault is None:
        return web.json_response(process())
    return await spoil(Spoiled(request, fault, process, body))


def answer(node: DevnetNode, path: str, body: str, query: Mapping[str, str]) -> Any:
    """What the node says to a call of ``ROUTES``, having done it."""
    try:
        params = _parameters(body, query)
        visible = str(params.get("visible", False)).lower() == "true"
        return ROUTES[path](Call(node, params, visible, path.startswith("walletsolidity/")))
    except ApiError as error:
        return {"Error": str(error)}
    except Rejected as error:
        return {"Error": f"class org.tron.core.exception.ContractValidateException : {error.message}"}


def _parameters(body: str, query: Mapping[str, str]) -> dict[str, Any]:
    if not body.strip():
        return dict(query)
    try:
        params = json.loads(body)
    except ValueError as error:
        raise ApiError(f"class com.alibaba.fastjson.JSONException : {error}") from error
    if not isinstance(params, dict):
        raise ApiError("class java.lang.ClassCastException : the body is not a JSON object")
    return params
