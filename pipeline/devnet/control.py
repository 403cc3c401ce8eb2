"""The control API under /devnet: what a test, the demo or an operator asks of the simulated network.

Bodies and answers are JSON; addresses base58; amounts raw units as strings (integers are taken too). What
cannot be done is answered with status 400 and ``{"error": …}``.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from eth_abi.abi import encode

from pipeline.devnet.audit import payments
from pipeline.devnet.blocks import Block
from pipeline.devnet.encoding import BadAddress, base58_address, keccak256, parse_address
from pipeline.devnet.faults import Fault
from pipeline.devnet.network import MAIN, Devnet
from pipeline.devnet.nodes import DevnetNode
from pipeline.devnet.params import Params
from pipeline.devnet.transactions import Rejected

Json = dict[str, Any]
Command = Callable[[Devnet, Json], Awaitable[Any]]
NETWORK = web.AppKey("network", Devnet)


def control_app(network: Devnet) -> web.Application:
    app = web.Application()
    app[NETWORK] = network
    app.router.add_post("/{command}", _run)
    return app


async def _run(request: web.Request) -> web.Response:
    command = _COMMANDS.get(request.match_info["command"])
    if command is None:
        return web.json_response({"error": f"unknown command: one of {', '.join(sorted(_COMMANDS))}"}, status=404)
    try:
        text = await request.text()
        body = json.loads(text) if text.strip() else {}
        return web.json_response(await command(request.app[NETWORK], body))
    except Rejected as error:
        return web.json_response({"error": str(error), "code": error.code}, status=400)
    except KeyError as error:
        return web.json_response({"error": f"field {error} is missing or names nothing that exists"}, status=400)
    except (BadAddress, ValueError, TypeError) as error:
        return web.json_response({"error": str(error)}, status=400)
    except TimeoutError:
        return web.json_response({"error": "it did not happen in time"}, status=408)


async def status(network: Devnet, body: Json) -> Json:
    chain = network.chain
    return {
        "network": chain.options.network,
        "genesis_id": chain.blocks[0].id.hex(),
        "head": _block(chain.head),
        "solid": _block(chain.solid),
        "solid_lag": chain.options.solid_lag,
        "block_time": network.options.block_time,
        "paused": network.paused,
        "instant": chain.instant,
        "now_ms": chain.clock.now_ms(),
        "pending": [txid.hex() for txid in chain.pending],
        "params": chain.params.to_json(),
        "faucet": base58_address(network.faucet.address),
        "tokens": [
            {"contract": base58_address(address), "name": found.created.name}
            for address, found in chain.head_state.ledger.contracts.items()
        ],
        "nodes": [_node(node) for node in network.nodes.values()],
    }


async def faucet(network: Devnet, body: Json) -> Json:
    return {"txid": network.faucet.fund(_address(body["address"]), int(body["sun"]))}


async def deploy(network: Devnet, body: Json) -> Json:
    """The token, or what ``bytecode`` makes: creation code with its arguments behind it, in hex."""
    name, symbol = str(body.get("name", "Tether USD")), str(body.get("symbol", "USDT"))
    if "bytecode" in body:
        txid, contract = network.faucet.deploy(bytes.fromhex(body["bytecode"]), body.get("abi", []), name)
    else:
        decimals, supply = int(body.get("decimals", 6)), int(body.get("supply", 10**15))
        txid, contract = network.faucet.deploy_token(name, symbol, decimals, supply)
    return {"txid": txid, "contract": base58_address(contract)}


async def call(network: Devnet, body: Json) -> Json:
    """Call a contract as the faucet, who owns the tokens it deployed."""
    arguments = [_argument(value) for value in body.get("args", [])]
    return {"txid": network.faucet.call(_address(body["contract"]), str(body["function"]), arguments)}


async def balance(network: Devnet, body: Json) -> Json:
    """TRX, or a token's ``balanceOf`` with ``contract``; at the head or ``solid``."""
    solid, holder = bool(body.get("solid", False)), _address(body["address"])
    node = network.main
    state = node.state(solid)
    if not body.get("contract"):
        return {"raw": str(state.balance(holder))}
    data = keccak256(b"balanceOf(address)")[:4] + encode(["address"], [holder[1:]])
    done, _ = state.simulate(holder, _address(body["contract"]), data, 0, node.env(solid))
    if not done.success or len(done.output) != 32:
        raise ValueError(f"balanceOf of {body['contract']} failed: {done.status} {done.message}")
    return {"raw": str(int.from_bytes(done.output, "big"))}


async def mine(network: Devnet, body: Json) -> Json:
    """``blocks`` (1), each ``step_ms`` after the one before it if given; ``empty`` leaves the pool alone."""
    step = body.get("step_ms")
    made = [
        network.chain.produce(empty=bool(body.get("empty", False)), step_ms=None if step is None else int(step))
        for _ in range(int(body.get("blocks", 1)))
    ]
    return {"blocks": [_block(block) for block in made]}


async def clock(network: Devnet, body: Json) -> Json:
    """``paused`` stops and restarts block making; ``advance`` moves chain time on by seconds; ``instant``."""
    network.paused = bool(body.get("paused", network.paused))
    network.chain.instant = bool(body.get("instant", network.chain.instant))
    network.chain.clock.advance(int(float(body.get("advance", 0)) * 1000))
    return {"paused": network.paused, "now_ms": network.chain.clock.now_ms()}


async def fork(network: Devnet, body: Json) -> Json:
    """Replace the last ``depth`` blocks; ``drop`` forgets their transactions."""
    displaced = network.chain.fork(int(body["depth"]), drop=bool(body.get("drop", False)))
    return {"transactions": [tx.id for tx in displaced], "head": _block(network.chain.head)}


async def params(network: Devnet, body: Json) -> Json:
    """Change chain parameters from the next block on."""
    network.chain.params = Params.from_json(body, network.chain.params)
    return network.chain.params.to_json()


async def pool(network: Devnet, body: Json) -> Json:
    """``drop``, ``hold`` or ``release`` transactions: a list of txids, or "all"."""
    chain = network.chain
    chain.held |= _txids(body.get("hold"), chain.pending)
    chain.held -= _txids(body.get("release"), chain.held)
    dropped = chain.drop_pending(_txids(body.get("drop"), chain.pending))
    return {"pending": [txid.hex() for txid in chain.pending], "dropped": dropped}


async def start_node(network: Devnet, body: Json) -> Json:
    return _node(await network.start_node(str(body["name"]), int(body.get("lag", 0)), int(body.get("port", 0))))


async def stop_node(network: Devnet, body: Json) -> Json:
    await network.stop_node(str(body["name"]))
    return {}


async def set_node(network: Devnet, body: Json) -> Json:
    """``frozen``: the node goes stale, or catches up again; ``lag``: blocks it is behind; ``forget``: its txids."""
    node = network.nodes[str(body.get("name", MAIN))]
    node.lag = int(body.get("lag", node.lag))
    if body.get("forget"):
        node.remembered.clear()
    if "frozen" in body:
        if body["frozen"]:
            node.freeze()
        else:
            node.thaw()
    return _node(node)


async def add_fault(network: Devnet, body: Json) -> Json:
    return network.nodes[str(body.get("node", MAIN))].faults.add(Fault.from_json(body)).to_json()


async def clear_faults(network: Devnet, body: Json) -> Json:
    """Of one ``node`` or all; one ``id`` or all."""
    nodes = [network.nodes[str(body["node"])]] if body.get("node") else list(network.nodes.values())
    return {"cleared": sum(node.faults.clear(body.get("id")) for node in nodes)}


async def list_faults(network: Devnet, body: Json) -> Json:
    return {name: [rule.to_json() for rule in node.faults.rules] for name, node in network.nodes.items()}


async def audit(network: Devnet, body: Json) -> Json:
    """Every payment on the canonical chain, from block ``since``; with ``solid`` only in solid blocks."""
    chain = network.chain
    last = chain.solid.number if body.get("solid") else chain.head.number
    blocks = chain.blocks[int(body.get("since", 0)) : last + 1]
    return {"head": chain.head.number, "solid": chain.solid.number, "payments": list(payments(blocks))}


async def wait(network: Devnet, body: Json) -> Json:
    """Until block ``block`` or transaction ``txid`` is there, or ``solid``; at most ``timeout`` seconds (30)."""
    solid = bool(body.get("solid", False))
    async with asyncio.timeout(float(body.get("timeout", 30))):
        if "txid" in body:
            return _block(await network.wait_for_transaction(bytes.fromhex(body["txid"]), solid=solid))
        return _block(await network.wait_for(int(body["block"]), solid=solid))


_COMMANDS: dict[str, Command] = {
    "status": status,
    "faucet": faucet,
    "deploy": deploy,
    "call": call,
    "balance": balance,
    "mine": mine,
    "clock": clock,
    "fork": fork,
    "params": params,
    "pool": pool,
    "start-node": start_node,
    "stop-node": stop_node,
    "set-node": set_node,
    "add-fault": add_fault,
    "clear-faults": clear_faults,
    "list-faults": list_faults,
    "audit": audit,
    "wait": wait,
}


def _block(block: Block) -> Json:
    return {"number": block.number, "id": block.id.hex(), "timestamp": block.timestamp}


def _node(node: DevnetNode) -> Json:
    return {
        "name": node.name,
        "url": node.url,
        "lag": node.lag,
        "frozen": node.frozen is not None,
        "head": node.height(solid=False),
        "solid": node.height(solid=True),
    }


def _address(text: str) -> bytes:
    return parse_address(text, visible=text.startswith("T"))


def _argument(value: Any) -> Any:
    """Base58 addresses become the 20 bytes a contract knows; decimal strings become integers."""
    if isinstance(value, str) and value.startswith("T") and len(value) == 34:
        return _address(value)[1:]
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _txids(wanted: Any, known: Any) -> set[bytes]:
    if wanted == "all":
        return set(known)
    return {bytes.fromhex(txid) for txid in wanted or ()}
