"""Read calls about blocks, transactions and the network. Each takes a Call and returns what is printed."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.devnet import shapes
from pipeline.devnet.blocks import Block
from pipeline.devnet.dynamic_energy import next_maintenance
from pipeline.devnet.encoding import BadAddress, parse_address, parse_hex
from pipeline.devnet.nodes import DevnetNode

BLOCK_LIMIT = 100


class ApiError(Exception):
    """Answered as HTTP 200 ``{"Error": …}``; the text begins with the Java class, as java-tron's does."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed."""

    node: DevnetNode
    params: dict[str, Any]
    visible: bool
    solid: bool
    """Came in under /walletsolidity."""

    def integer(self, name: str, default: int = 0) -> int:
        """Raises ApiError for what is no whole number."""
        value = self.params.get(name, default)
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):
                return int(value)
        raise ApiError(
            f"class org.tron.core.services.http.JsonFormat$ParseException : 1:1: Couldn't parse integer: {value!r}"
        )

    def text(self, name: str) -> str:
        value = self.params.get(name, "")
        return value if isinstance(value, str) else str(value)

    def address(self, name: str) -> bytes:
        """Base58 with ``visible``, else hex with 41. Raises ApiError."""
        try:
            return parse_address(self.text(name), self.visible)
        except BadAddress as error:
            raise ApiError(f"class java.lang.IllegalArgumentException : {error}") from error

    def data(self, name: str) -> bytes:
        """Raises ApiError."""
        try:
            return parse_hex(self.text(name))
        except BadAddress as error:
            raise ApiError(f"class org.bouncycastle.util.encoders.DecoderException : {error}") from error

    @property
    def head(self) -> Block:
        return self.node.head(self.solid)


Handler = Callable[[Call], Any]


def get_now_block(call: Call) -> Any:
    return shapes.block(call.head, call.visible)


def get_block(call: Call) -> Any:
    wanted, detail = call.params.get("id_or_num"), bool(call.params.get("detail", False))
    if wanted in (None, ""):
        return shapes.block(call.head, call.visible, detail)
    text = str(wanted)
    if text.isdecimal():
        return _printed(call.node.block(int(text), call.solid), call, detail)
    if len(text) == 64:
        return _printed(call.node.block_by_id(call.data("id_or_num"), call.solid), call, detail)
    return {"Error": "id_or_num must be block number or hash"}


def get_block_by_num(call: Call) -> Any:
    return _printed(call.node.block(call.integer("num"), call.solid), call)


def get_block_by_id(call: Call) -> Any:
    return _printed(call.node.block_by_id(call.data("value"), call.solid), call)


def get_block_by_limit_next(call: Call) -> Any:
    """[startNum, endNum), at most 100; ``{}`` for a range it does not serve."""
    start, end = call.integer("startNum"), call.integer("endNum")
    if start < 0 or end <= start or end - start > BLOCK_LIMIT:
        return {}
    found = [call.node.block(number, call.solid) for number in range(start, end)]
    blocks = [shapes.block(block, call.visible) for block in found if block]
    return {"block": blocks} if blocks else {}


def get_block_by_latest_num(call: Call) -> Any:
    count = call.integer("num")
    if not 0 < count < BLOCK_LIMIT:
        return {}
    head = call.head.number
    found = [call.node.block(number, call.solid) for number in range(max(0, head - count + 1), head + 1)]
    return {"block": [shapes.block(block, call.visible) for block in found if block]}


def get_transaction_by_id(call: Call) -> Any:
    place = call.node.find(call.data("value"), call.solid)
    if not place:
        return {}
    return shapes.transaction(place.transaction, call.visible, place.receipt)


def get_transaction_info_by_id(call: Call) -> Any:
    place = call.node.find(call.data("value"), call.solid)
    return shapes.transaction_info(place.block, place.position, call.visible) if place else {}


def get_transaction_info_by_block_num(call: Call) -> Any:
    """``[]`` for an empty block and for a block this node does not have; ``{}`` for block 0."""
    number = call.integer("num")
    if number <= 0:
        return {}
    block = call.node.block(number, call.solid)
    if not block:
        return []
    return [shapes.transaction_info(block, i, call.visible) for i in range(len(block.transactions))]


def get_transaction_list_from_pending(call: Call) -> Any:
    ids = [txid.hex() for txid in call.node.chain.pending]
    return {"txId": ids} if ids else {}


def get_transaction_from_pending(call: Call) -> Any:
    tx = call.node.chain.pending.get(call.data("value"))
    return shapes.transaction(tx, call.visible) if tx else {}


def get_pending_size(call: Call) -> Any:
    return {"pendingSize": len(call.node.chain.pending)}


def get_node_info(call: Call) -> Any:
    return shapes.node_info(call.node.head(False), call.node.head(True))


def get_chain_parameters(call: Call) -> Any:
    return shapes.chain_parameters(call.node.env(call.solid))


def list_witnesses(call: Call) -> Any:
    return shapes.witnesses(call.visible)


def list_nodes(call: Call) -> Any:
    return {}


def get_energy_prices(call: Call) -> Any:
    return {"prices": f"0:{call.node.env(False).params.energy_fee}"}


def get_bandwidth_prices(call: Call) -> Any:
    return {"prices": f"0:{call.node.env(False).params.transaction_fee}"}


def validate_address(call: Call) -> Any:
    text = call.text("address")
    base58 = text.startswith("T")
    try:
        parse_address(text, base58)
    except BadAddress as error:
        return {"result": False, "message": str(error)}
    return {"result": True, "message": "Base58check format" if base58 else "Hex string format"}


def get_account(call: Call) -> Any:
    return shapes.account(call.node.state(call.solid), call.address("address"), call.visible)


def get_account_by_id(call: Call) -> Any:
    wanted = call.text("account_id")
    state = call.node.state(call.solid)
    address = state.ledger.named(wanted.encode() if call.visible else call.data("account_id"))
    return shapes.account(state, address, call.visible) if address else {}


def get_account_resource(call: Call) -> Any:
    return shapes.resources(call.node.state(call.solid), call.address("address"), call.node.env(call.solid))


def get_account_net(call: Call) -> Any:
    shape = get_account_resource(call)
    return {name: value for name, value in shape.items() if "Net" in name}


def get_contract(call: Call) -> Any:
    return shapes.contract(call.node.state(call.solid), call.address("value"), call.visible)


def get_contract_info(call: Call) -> Any:
    state, address = call.node.state(call.solid), call.address("value")
    found = shapes.contract(state, address, call.visible)
    if not found:
        return {}
    energy = state.energy_state(address, call.node.env(call.solid))
    values = {"energy_usage": energy.usage, "energy_factor": energy.factor, "update_cycle": energy.cycle}
    return {
        "smart_contract": found,
        "runtimecode": state.ledger.contracts[address].code.hex(),
        "contract_state": {name: value for name, value in values.items() if value},
    }


def get_next_maintenance_time(call: Call) -> Any:
    return {"num": next_maintenance(call.node.env(False))}


def _printed(block: Block | None, call: Call, detail: bool = True) -> Any:
    return shapes.block(block, call.visible, detail) if block else {}
