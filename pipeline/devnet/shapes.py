"""Blocks, transactions, receipts and accounts as java-tron's HTTP API prints them.

Fields with default values (0, false, empty) are left out, as its JsonFormat does.
"""

import json
from typing import Any

from google.protobuf.message import DecodeError

from pipeline.devnet.blocks import WITNESS, Block, header_raw
from pipeline.devnet.encoding import base58_address, contract_address, sha256
from pipeline.devnet.messages import CONTRACTS, kind_name, print_bytes, to_json
from pipeline.devnet.params import BlockEnv
from pipeline.devnet.permissions import default
from pipeline.devnet.resources import DAY_SLOTS, recovered, slot
from pipeline.devnet.staking import TOTAL_ENERGY_LIMIT, TOTAL_ENERGY_WEIGHT, TOTAL_NET_LIMIT, TOTAL_NET_WEIGHT
from pipeline.devnet.staking import shown as stake_shown
from pipeline.devnet.state import Receipt, State
from pipeline.devnet.transactions import WireTransaction
from pipeline.devnet.vm import Log

Json = dict[str, Any]


def transaction(tx: WireTransaction, visible: bool, receipt: Receipt | None = None) -> Json:
    """A transaction; with its ``ret`` when it is in a block."""
    shape: Json = {}
    if receipt:
        shape["ret"] = [{"contractRet": receipt.result}]
    if tx.message.signature:
        shape["signature"] = [signature.hex() for signature in tx.message.signature]
    shape["txID"] = tx.id
    shape["raw_data"] = _raw_data(tx.message.raw_data, visible)
    shape["raw_data_hex"] = tx.raw.hex()
    if tx.message.raw_data.contract and tx.kind == "CreateSmartContract":
        shape["contract_address"] = contract_address(tx.txid, bytes(tx.contract.owner_address)).hex()
    return shape


def _raw_data(raw: Any, visible: bool) -> Json:
    shape = to_json(raw, visible)
    contracts = []
    for packed in raw.contract:
        cls = CONTRACTS.get(kind_name(packed.type))
        try:
            value = to_json(cls.FromString(packed.parameter.value), visible) if cls else {}
        except DecodeError:
            continue  # java-tron prints what it can unpack
        contract: Json = {
            "parameter": {"value": value, "type_url": packed.parameter.type_url},
            "type": kind_name(packed.type),
        }
        if packed.Permission_id > 0:
            contract["Permission_id"] = packed.Permission_id
        contracts.append(contract)
    shape["contract"] = contracts
    return shape


def transaction_text(tx: WireTransaction) -> str:
    """A transaction as ``broadcasthex`` prints it: JSON text, in which a contract is its name and its bytes."""
    return json.dumps(to_json(tx.message, True), separators=(",", ":"))


def block(found: Block, visible: bool, detail: bool = True) -> Json:
    """``detail`` false leaves the transactions out, as ``wallet/getblock`` does by default."""
    raw = header_raw(found.number, found.timestamp, found.parent_id, found.tx_root)
    header = to_json(raw, visible)
    shape: Json = {"blockID": found.id.hex(), "block_header": {"raw_data": header}}
    if found.number:
        shape["block_header"]["witness_signature"] = (sha256(found.id) + sha256(found.tx_root) + b"\x00").hex()
    if found.transactions and detail:
        pairs = zip(found.transactions, found.receipts, strict=True)
        shape["transactions"] = [transaction(tx, visible, receipt) for tx, receipt in pairs]
    return shape


def transaction_info(found: Block, position: int, visible: bool) -> Json:
    tx, receipt = found.transactions[position], found.receipts[position]
    shape: Json = {"id": tx.id}
    if receipt.fee:
        shape["fee"] = receipt.fee
    shape["blockNumber"] = found.number
    shape["blockTimeStamp"] = found.timestamp
    shape["contractResult"] = [receipt.output.hex() if tx.kind != "CreateSmartContract" or receipt.success else ""]
    if receipt.contract:
        shape["contract_address"] = print_bytes("contract_address", receipt.contract, visible)
    shape["receipt"] = _resource_receipt(tx, receipt)
    if receipt.logs:
        shape["log"] = [log(entry, visible) for entry in receipt.logs]
    if not receipt.success:
        shape["result"] = "FAILED"
        message = receipt.message.encode()
        shape["resMessage"] = receipt.message if visible else message.hex()
    return shape


def _resource_receipt(tx: WireTransaction, receipt: Receipt) -> Json:
    shape: Json = {
        "energy_usage": receipt.energy_usage,
        "energy_fee": receipt.energy_fee,
        "energy_usage_total": receipt.energy_total,
        "net_usage": receipt.net_usage,
        "net_fee": receipt.net_fee,
        "energy_penalty_total": receipt.energy_penalty,
    }
    shape = {name: value for name, value in shape.items() if value}
    if tx.kind != "TransferContract":
        shape["result"] = receipt.result
    return shape


def log(entry: Log, visible: bool) -> Json:
    """The address has no 41 in front, unless ``visible`` asked for base58."""
    shape: Json = {"address": base58_address(entry.address) if visible else entry.address[1:].hex()}
    if entry.topics:
        shape["topics"] = [topic.hex() for topic in entry.topics]
    if entry.data:
        shape["data"] = entry.data.hex()
    return shape


def account(state: State, address: bytes, visible: bool) -> Json:
    """``{}`` for an account that was never activated."""
    found = state.ledger.accounts.get(address)
    if found is None:
        return {}
    printed = print_bytes("address", address, visible)
    shape: Json = {
        "address": printed,
        "balance": state.balance(address),
        "create_time": found.created_ms,
        "latest_opration_time": found.last_operation_ms,
        "free_net_usage": found.free_net_used,
        "latest_consume_free_time": found.free_net_slot,
    }
    shape = {name: value for name, value in shape.items() if value}
    if address in state.ledger.contracts:
        shape["type"] = "Contract"
    else:
        permissions = found.permissions or default(address)
        shape["owner_permission"] = to_json(permissions.owner, visible)
        shape["active_permission"] = [to_json(active, visible) for active in permissions.actives]
    if found.name:
        shape["account_name"] = print_bytes("account_name", found.name, visible)
    if found.account_id:
        shape["account_id"] = print_bytes("account_id", found.account_id, visible)
    shape.update(stake_shown(found.stake))
    shape["net_window_size"] = DAY_SLOTS * 1000
    shape["net_window_optimized"] = True
    shape["account_resource"] = {"energy_window_size": DAY_SLOTS * 1000, "energy_window_optimized": True}
    return shape


def resources(state: State, address: bytes, env: BlockEnv) -> Json:
    """``wallet/getaccountresource``; ``wallet/getaccountnet`` is the part about bandwidth."""
    found = state.ledger.accounts.get(address)
    if found is None:
        return {}
    now = slot(env.timestamp)
    shape: Json = {
        "freeNetUsed": recovered(found.free_net_used, found.free_net_slot, now),
        "freeNetLimit": env.params.free_net_limit,
        "NetUsed": recovered(found.net_used, found.net_slot, now),
        "NetLimit": found.stake.net_limit,
        "TotalNetLimit": TOTAL_NET_LIMIT,
        "TotalNetWeight": TOTAL_NET_WEIGHT,
        "EnergyUsed": recovered(found.energy_used, found.energy_slot, now),
        "EnergyLimit": env.params.account_energy + found.stake.energy_limit,
        "TotalEnergyLimit": TOTAL_ENERGY_LIMIT,
        "TotalEnergyWeight": TOTAL_ENERGY_WEIGHT,
    }
    return {name: value for name, value in shape.items() if value}


def contract(state: State, address: bytes, visible: bool) -> Json:
    found = state.ledger.contracts.get(address)
    return to_json(found.created, visible) if found else {}


def chain_parameters(env: BlockEnv) -> Json:
    params = env.params
    values = {
        "getMaintenanceTimeInterval": params.maintenance_interval,
        "getCreateAccountFee": params.activation_bandwidth_fee,
        "getTransactionFee": params.transaction_fee,
        "getCreateNewAccountFeeInSystemContract": params.activation_fee,
        "getCreateNewAccountBandwidthRate": 1,
        "getEnergyFee": params.energy_fee,
        "getMaxCpuTimeOfOneTx": 80,
        "getFreeNetLimit": params.free_net_limit,
        "getTotalEnergyLimit": TOTAL_ENERGY_LIMIT,
        "getUnfreezeDelayDays": 14,
        "getMaxFeeLimit": 15_000_000_000,
        "getMemoFee": params.memo_fee,
        "getUpdateAccountPermissionFee": params.permission_fee,
        "getMultiSignFee": params.multi_sign_fee,
        "getForbidTransferToContract": 1,
        "getAllowDynamicEnergy": 1,
        "getDynamicEnergyThreshold": params.dynamic_energy_threshold,
        "getDynamicEnergyIncreaseFactor": params.dynamic_energy_increase,
        "getDynamicEnergyMaxFactor": params.dynamic_energy_max,
    }
    return {"chainParameter": [{"key": k, "value": v} if v else {"key": k} for k, v in values.items()]}


def node_info(head: Block, solid: Block) -> Json:
    return {
        "beginSyncNum": head.number,
        "block": f"Num:{head.number},ID:{head.id.hex()}",
        "solidityBlock": f"Num:{solid.number},ID:{solid.id.hex()}",
        "currentConnectCount": 1,
        "activeConnectCount": 1,
        "passiveConnectCount": 0,
        "totalFlow": 0,
        "peerList": [],
        "configNodeInfo": {"codeVersion": "4.8.0", "p2pVersion": "11111", "supportConstant": True},
        "machineInfo": {},
        "cheatWitnessInfoMap": {},
    }


def witnesses(visible: bool) -> Json:
    return {"witnesses": [{"address": print_bytes("address", WITNESS, visible), "isJobs": True}]}
