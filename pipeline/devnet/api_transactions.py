"""Calls that build, simulate, weigh and broadcast transactions."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from pipeline.devnet import shapes
from pipeline.devnet.api_blocks import ApiError, Call
from pipeline.devnet.encoding import BadAddress, base58_address, keccak256, parse_hex, recover
from pipeline.devnet.messages import (
    CONTRACTS,
    CreateSmartContract,
    RawData,
    SmartContract,
    TransferContract,
    TriggerSmartContract,
    from_json,
    to_json,
)
from pipeline.devnet.permissions import Permissions, Refused, default, permission_of, weigh
from pipeline.devnet.transactions import Code, Rejected, WireTransaction, invalid
from pipeline.devnet.vm import Execution

LIFETIME_MS = 60_000
"""Expiration of transactions the node builds, after its head block's time."""


def broadcast_hex(call: Call) -> Any:
    try:
        tx = WireTransaction.decode(parse_hex(call.text("transaction")))
    except (BadAddress, DecodeError) as error:
        raise ApiError(f"class com.google.protobuf.InvalidProtocolBufferException : {error}") from error
    code, message = _push(call, tx)
    printed = shapes.transaction_text(tx)
    return {"result": code == Code.SUCCESS, "code": code, "message": message, "txid": tx.id, "transaction": printed}


def broadcast_transaction(call: Call) -> Any:
    tx = _packed(call)
    code, message = _push(call, tx)
    return refusal(code, message, tx.id, call.visible) if code != Code.SUCCESS else {"result": True, "txid": tx.id}


def refusal(code: str, message: str, txid: str, visible: bool) -> Any:
    """``broadcasttransaction``'s answer when it does not pool; the message is hex unless visible."""
    return {"code": code, "txid": txid, "message": message if visible else message.encode().hex()}


def get_sign_weight(call: Call) -> Any:
    """The permission that a transaction names, who of it has signed, and whether that is enough."""
    tx = _packed(call)
    shape: Any = {"result": {}, "transaction": _extended(call, tx)}
    try:
        permission = permission_of(tx, _permissions(call, tx))
        shape["permission"] = to_json(permission, call.visible)
        approved, weight = weigh(permission, tx.txid, [bytes(signature) for signature in tx.message.signature])
        if approved:
            shape["approved_list"] = [_shown(call, address) for address in approved]
            shape["current_weight"] = weight
        if weight < permission.threshold:
            shape["result"] = {"code": "NOT_ENOUGH_PERMISSION"}
    except Refused as error:
        shape["result"] = {"code": error.code, "message": str(error)}
    return shape


def get_approved_list(call: Call) -> Any:
    """Who has signed, whether they may or not."""
    tx = _packed(call)
    shape: Any = {"result": {}, "transaction": _extended(call, tx)}
    try:
        _permissions(call, tx)
        approved = [_shown(call, recover(tx.txid, bytes(signature))) for signature in tx.message.signature]
        if approved:
            shape["approved_list"] = approved
    except Refused as error:
        shape["result"] = {"code": "OTHER_ERROR", "message": str(error)}
    except ValueError as error:
        shape["result"] = {"code": "COMPUTE_ADDRESS_ERROR", "message": str(error)}
    return shape


def _permissions(call: Call, tx: WireTransaction) -> Permissions:
    """Raises Refused for a transaction of nobody's."""
    if not tx.message.raw_data.contract:
        raise Refused("OTHER_ERROR", "Invalid transaction: no valid contract")
    account = call.node.state(False).ledger.accounts.get(tx.owner)
    if account is None:
        raise Refused("PERMISSION_ERROR", "Account does not exist!")
    return account.permissions or default(tx.owner)


def _extended(call: Call, tx: WireTransaction) -> Any:
    return {"result": {"result": True}, "txid": tx.id, "transaction": _listed(call, tx)}


def create_transaction(call: Call) -> Any:
    """A TransferContract, validated but not signed."""
    transfer = _message(call, TransferContract)
    tx = _built(call, "TransferContract", transfer)
    state = call.node.state(False)
    mark = state.mark()
    try:
        state.apply(tx, call.node.env(False))
    except Rejected as error:
        raise ApiError(f"class org.tron.core.exception.ContractValidateException : {error.message}") from error
    finally:
        state.rollback(mark)
    return {"visible": call.visible, **shapes.transaction(tx, call.visible)}


def deploy_contract(call: Call) -> Any:
    owner = call.address("owner_address")
    code = call.text("bytecode") + call.text("parameter")
    abi = call.params.get("abi") or []
    body = {
        "abi": {"entrys": abi if isinstance(abi, list) else abi.get("entrys", [])},
        "bytecode": code,
        "call_value": call.integer("call_value"),
        "consume_user_resource_percent": call.integer("consume_user_resource_percent"),
        "origin_energy_limit": call.integer("origin_energy_limit"),
        "name": call.text("name"),
    }
    created = from_json(SmartContract, body, False)
    created.origin_address = owner
    message = CreateSmartContract(owner_address=owner, new_contract=created)
    tx = _built(call, "CreateSmartContract", message, call.integer("fee_limit"))
    return {"visible": call.visible, **shapes.transaction(tx, call.visible)}


def trigger_smart_contract(call: Call) -> Any:
    """A TriggerSmartContract to be signed; a function the contract's ABI calls view is run at once."""
    try:
        trigger = _trigger(call)
        state = call.node.state(False)
        found = state.ledger.contracts.get(bytes(trigger.contract_address))
        if not found:
            raise invalid("No contract or not a valid smart contract")
        if _is_view(found.created, bytes(trigger.data)):
            return _tried(call, call.integer("fee_limit"))
        tx = _built(call, "TriggerSmartContract", trigger, call.integer("fee_limit"))
        printed = {"visible": call.visible, **shapes.transaction(tx, call.visible)}
        return {"result": {"result": True}, "transaction": printed}
    except Rejected as error:
        return {"result": _refused(call, error)}


def trigger_constant_contract(call: Call) -> Any:
    """Simulate a call, or with no contract address the creation code in ``data``."""
    return _tried(call)


def _tried(call: Call, fee_limit: int = 0) -> Any:
    try:
        trigger = _trigger(call)
        done, extra = _simulate(call, trigger)
    except Rejected as error:
        return {"result": _refused(call, error)}
    if not done.success and done.status != "REVERT":
        return {"result": _failed(call, done)}
    tx = _built(call, "TriggerSmartContract", trigger, fee_limit)
    status = {} if done.success else {"ret": "FAILED"}
    shape: Any = {
        "result": {"result": True},
        "energy_used": done.energy + extra,
        "constant_result": [done.output.hex()],
        "transaction": {"ret": [status], "visible": call.visible, **shapes.transaction(tx, call.visible)},
    }
    if extra:
        shape["energy_penalty"] = extra
    if not done.success:
        shape["result"]["message"] = _said(call, done.message)
    if done.logs:
        shape["logs"] = [shapes.log(entry, False) for entry in done.logs]
    return shape


def estimate_energy(call: Call) -> Any:
    try:
        trigger = _trigger(call)
        done, extra = _simulate(call, trigger)
    except Rejected as error:
        return {"result": _refused(call, error)}
    if not done.success:
        return {"result": {"code": "CONTRACT_EXE_ERROR", "message": _said(call, done.message or done.status)}}
    return {"result": {"result": True}, "energy_required": done.energy + extra}


def _simulate(call: Call, trigger: Any) -> tuple[Execution, int]:
    """The execution, and the energy penalty on top."""
    state = call.node.state(call.solid)
    owner, contract = bytes(trigger.owner_address), bytes(trigger.contract_address)
    return state.simulate(owner, contract, bytes(trigger.data), trigger.call_value, call.node.env(call.solid))


def _push(call: Call, tx: WireTransaction) -> tuple[Code, str]:
    try:
        call.node.broadcast(tx)
    except Rejected as error:
        return error.code, error.message
    return Code.SUCCESS, ""


def _packed(call: Call) -> WireTransaction:
    """The transaction in the body, encoded from its ``raw_data`` fields: ``raw_data_hex`` and ``txID`` are not read."""
    raw_json = call.params.get("raw_data")
    if not isinstance(raw_json, dict):
        raise ApiError("class java.lang.NullPointerException : null")
    try:
        raw = from_json(RawData, {k: v for k, v in raw_json.items() if k != "contract"}, call.visible)
        for item in raw_json.get("contract", []):
            cls = CONTRACTS.get(item.get("type", ""))
            if cls is None:
                continue
            value = from_json(cls, item["parameter"]["value"], call.visible)
            packed = raw.contract.add(type=item["type"], Permission_id=item.get("Permission_id", 0))
            packed.parameter.CopyFrom(_any(item["type"], value))
        signatures = [parse_hex(signature) for signature in call.params.get("signature") or []]
    except (BadAddress, KeyError, TypeError, ValueError) as error:
        raise ApiError(f"class org.tron.core.services.http.JsonFormat$ParseException : {error}") from error
    return WireTransaction.of(raw, signatures)


def _built(call: Call, kind: str, message: Any, fee_limit: int = 0) -> WireTransaction:
    """Unsigned, referring to the node's solid block as java-tron's createTransactionCapsule does."""
    reference, head = call.node.head(True), call.node.head(False)
    raw = RawData(
        ref_block_bytes=reference.id[6:8],
        ref_block_hash=reference.id[8:16],
        expiration=head.timestamp + LIFETIME_MS,
        timestamp=call.node.chain.clock.now_ms(),
        fee_limit=fee_limit,
    )
    if call.text("extra_data"):
        raw.data = call.text("extra_data").encode() if call.visible else call.data("extra_data")
    contract = raw.contract.add(type=kind, Permission_id=max(0, call.integer("Permission_id")))
    contract.parameter.CopyFrom(_any(kind, message))
    return WireTransaction.of(raw, [])


def _any(kind: str, message: Any) -> AnyMessage:
    return AnyMessage(type_url=f"type.googleapis.com/protocol.{kind}", value=message.SerializeToString())


def _message(call: Call, cls: Any) -> Any:
    try:
        return from_json(cls, call.params, call.visible)
    except (BadAddress, TypeError, ValueError) as error:
        raise ApiError(f"class org.tron.core.services.http.JsonFormat$ParseException : {error}") from error


def _trigger(call: Call) -> Any:
    """Raises Rejected without an owner, or without contract and data (Util.validateParameter)."""
    if not call.text("owner_address"):
        raise Rejected(Code.OTHER_ERROR, "class java.security.InvalidParameterException : owner_address isn't set.")
    if not call.text("contract_address") and not call.text("data"):
        message = "At least one of contract_address and data must be set."
        raise Rejected(Code.OTHER_ERROR, f"class java.security.InvalidParameterException : {message}")
    trigger = _message(call, TriggerSmartContract)
    selector = call.text("function_selector")
    if selector:
        trigger.data = keccak256(selector.encode())[:4] + call.data("parameter")
    return trigger


def _is_view(created: Any, data: bytes) -> bool:
    for entry in created.abi.entrys:
        if entry.type == 2 and entry.stateMutability in (1, 2):
            signature = f"{entry.name}({','.join(param.type for param in entry.inputs)})"
            if keccak256(signature.encode())[:4] == data[:4]:
                return True
    return False


def _refused(call: Call, error: Rejected) -> Any:
    return {"code": error.code, "message": _said(call, error.message.removeprefix("Contract validate error : "))}


def _failed(call: Call, done: Execution) -> Any:
    """What java-tron says when a constant call throws: no result, the exception's class and words."""
    names = {"OUT_OF_ENERGY": "OutOfEnergyException", "ILLEGAL_OPERATION": "IllegalOperationException"}
    name = names.get(done.status, "BytecodeExecutionException")
    return {
        "code": "OTHER_ERROR",
        "message": _said(call, f"class org.tron.core.vm.program.Program${name} : {done.message}"),
    }


def _said(call: Call, message: str) -> str:
    return message if call.visible else message.encode().hex()


def _listed(call: Call, tx: WireTransaction) -> Any:
    return shapes.transaction(tx, call.visible)


def _shown(call: Call, address: bytes) -> str:
    return base58_address(address) if call.visible else address.hex()
