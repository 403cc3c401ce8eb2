"""Protobuf messages, and their JSON as java-tron's JsonFormat prints and reads it.

Field numbers and names are java-tron's (core/Tron.proto and core/contract/*.proto), written down here a second time
on purpose: a number that the provider has wrong must not be right here too.
"""

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from pipeline.chains.tron.codec.protobuf import declare
from pipeline.devnet.encoding import base58_address, is_address, parse_address, parse_hex

_KINDS = {
    "AccountCreateContract": 0,
    "TransferContract": 1,
    "TransferAssetContract": 2,
    "VoteAssetContract": 3,
    "VoteWitnessContract": 4,
    "WitnessCreateContract": 5,
    "AssetIssueContract": 6,
    "WitnessUpdateContract": 8,
    "ParticipateAssetIssueContract": 9,
    "AccountUpdateContract": 10,
    "FreezeBalanceContract": 11,
    "UnfreezeBalanceContract": 12,
    "WithdrawBalanceContract": 13,
    "UnfreezeAssetContract": 14,
    "UpdateAssetContract": 15,
    "ProposalCreateContract": 16,
    "ProposalApproveContract": 17,
    "ProposalDeleteContract": 18,
    "SetAccountIdContract": 19,
    "CustomContract": 20,
    "CreateSmartContract": 30,
    "TriggerSmartContract": 31,
    "GetContract": 32,
    "UpdateSettingContract": 33,
    "ExchangeCreateContract": 41,
    "ExchangeInjectContract": 42,
    "ExchangeWithdrawContract": 43,
    "ExchangeTransactionContract": 44,
    "UpdateEnergyLimitContract": 45,
    "AccountPermissionUpdateContract": 46,
    "ClearABIContract": 48,
    "UpdateBrokerageContract": 49,
    "ShieldedTransferContract": 51,
    "MarketSellAssetContract": 52,
    "MarketCancelOrderContract": 53,
    "FreezeBalanceV2Contract": 54,
    "UnfreezeBalanceV2Contract": 55,
    "WithdrawExpireUnfreezeContract": 56,
    "DelegateResourceContract": 57,
    "UnDelegateResourceContract": 58,
}
"""ContractType."""
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
_ENUMS = {
    "ContractType": _KINDS,
    "EntryType": {
        "UnknownEntryType": 0,
        "Constructor": 1,
        "Function": 2,
        "Event": 3,
        "Fallback": 4,
        "Receive": 5,
        "Error": 6,
    },
    "ResourceCode": {"BANDWIDTH": 0, "ENERGY": 1, "TRON_POWER": 2},
    "PermissionType": {"Owner": 0, "Witness": 1, "Active": 2},
    "StateMutability": {"UnknownMutabilityType": 0, "Pure": 1, "View": 2, "Nonpayable": 3, "Payable": 4},
}
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "Transaction": {1: ("raw_data", "RawData"), 2: ("signature", "*bytes")},
    "RawData": {
        1: ("ref_block_bytes", "bytes"),
        3: ("ref_block_num", "int64"),
        4: ("ref_block_hash", "bytes"),
        8: ("expiration", "int64"),
        9: ("auths", "*Authority"),
        10: ("data", "bytes"),
        11: ("contract", "*Contract"),
        12: ("scripts", "bytes"),
        14: ("timestamp", "int64"),
        18: ("fee_limit", "int64"),
    },
    "Contract": {
        1: ("type", "ContractType"),
        2: ("parameter", "Any"),
        3: ("provider", "bytes"),
        4: ("ContractName", "bytes"),
        5: ("Permission_id", "int32"),
    },
    "Authority": {1: ("account", "AccountId"), 2: ("permission_name", "bytes")},
    "AccountId": {1: ("name", "bytes"), 2: ("address", "bytes")},
    "TransferContract": {1: ("owner_address", "bytes"), 2: ("to_address", "bytes"), 3: ("amount", "int64")},
    "TriggerSmartContract": {
        1: ("owner_address", "bytes"),
        2: ("contract_address", "bytes"),
        3: ("call_value", "int64"),
        4: ("data", "bytes"),
        5: ("call_token_value", "int64"),
        6: ("token_id", "int64"),
    },
    "Param": {1: ("indexed", "bool"), 2: ("name", "string"), 3: ("type", "string")},
    "Entry": {
        1: ("anonymous", "bool"),
        2: ("constant", "bool"),
        3: ("name", "string"),
        4: ("inputs", "*Param"),
        5: ("outputs", "*Param"),
        6: ("type", "EntryType"),
        7: ("payable", "bool"),
        8: ("stateMutability", "StateMutability"),
    },
    "Abi": {1: ("entrys", "*Entry")},
    "SmartContract": {
        1: ("origin_address", "bytes"),
        2: ("contract_address", "bytes"),
        3: ("abi", "Abi"),
        4: ("bytecode", "bytes"),
        5: ("call_value", "int64"),
        6: ("consume_user_resource_percent", "int64"),
        7: ("name", "string"),
        8: ("origin_energy_limit", "int64"),
        9: ("code_hash", "bytes"),
        10: ("trx_hash", "bytes"),
        11: ("version", "int32"),
    },
    "CreateSmartContract": {
        1: ("owner_address", "bytes"),
        2: ("new_contract", "SmartContract"),
        3: ("call_token_value", "int64"),
        4: ("token_id", "int64"),
    },
    "Key": {1: ("address", "bytes"), 2: ("weight", "int64")},
    "Permission": {
        1: ("type", "PermissionType"),
        2: ("id", "int32"),
        3: ("permission_name", "string"),
        4: ("threshold", "int64"),
        5: ("parent_id", "int32"),
        6: ("operations", "bytes"),
        7: ("keys", "*Key"),
    },
    "AccountPermissionUpdateContract": {
        1: ("owner_address", "bytes"),
        2: ("owner", "Permission"),
        3: ("witness", "Permission"),
        4: ("actives", "*Permission"),
    },
    "AccountCreateContract": {1: ("owner_address", "bytes"), 2: ("account_address", "bytes"), 3: ("type", "int32")},
    "AccountUpdateContract": {1: ("account_name", "bytes"), 2: ("owner_address", "bytes")},
    "SetAccountIdContract": {1: ("account_id", "bytes"), 2: ("owner_address", "bytes")},
    "ClearABIContract": {1: ("owner_address", "bytes"), 2: ("contract_address", "bytes")},
    "FreezeBalanceContract": {
        1: ("owner_address", "bytes"),
        2: ("frozen_balance", "int64"),
        3: ("frozen_duration", "int64"),
        10: ("resource", "ResourceCode"),
        15: ("receiver_address", "bytes"),
    },
    "FreezeBalanceV2Contract": {
        1: ("owner_address", "bytes"),
        2: ("frozen_balance", "int64"),
        3: ("resource", "ResourceCode"),
    },
    "UnfreezeBalanceV2Contract": {
        1: ("owner_address", "bytes"),
        2: ("unfreeze_balance", "int64"),
        3: ("resource", "ResourceCode"),
    },
    "WithdrawExpireUnfreezeContract": {1: ("owner_address", "bytes")},
    "BlockHeaderRaw": {
        1: ("timestamp", "int64"),
        2: ("txTrieRoot", "bytes"),
        3: ("parentHash", "bytes"),
        7: ("number", "int64"),
        9: ("witness_address", "bytes"),
        10: ("version", "int32"),
    },
}

_CLASSES = declare("flagpost.devnet", _MESSAGES, _ENUMS)
Transaction = _CLASSES["Transaction"]
RawData = _CLASSES["RawData"]
"""java-tron's Transaction.raw: what is signed."""
TransferContract = _CLASSES["TransferContract"]
TriggerSmartContract = _CLASSES["TriggerSmartContract"]
CreateSmartContract = _CLASSES["CreateSmartContract"]
SmartContract = _CLASSES["SmartContract"]
Permission = _CLASSES["Permission"]
AccountPermissionUpdateContract = _CLASSES["AccountPermissionUpdateContract"]
BlockHeaderRaw = _CLASSES["BlockHeaderRaw"]

CONTRACTS: dict[str, Any] = {
    kind: _CLASSES[kind]
    for kind in (
        "TransferContract",
        "TriggerSmartContract",
        "CreateSmartContract",
        "AccountPermissionUpdateContract",
        "AccountCreateContract",
        "AccountUpdateContract",
        "SetAccountIdContract",
        "ClearABIContract",
        "FreezeBalanceContract",
        "FreezeBalanceV2Contract",
        "UnfreezeBalanceV2Contract",
        "WithdrawExpireUnfreezeContract",
    )
}
"""The kinds of transaction this network executes; anything else is refused at validation."""


def kind_name(number: int) -> str:
    """``ContractType`` by its number, ``UNKNOWN_<n>`` beyond those that exist."""
    return _KIND_NAMES.get(number, f"UNKNOWN_{number}")


def to_json(message: Message, visible: bool) -> dict[str, Any]:
    """Fields that are set, as java-tron prints them: bytes in hex; with ``visible`` addresses in base58."""
    return {field.name: _print(field, value, visible) for field, value in message.ListFields()}


def _print(field: Any, value: Any, visible: bool) -> Any:
    if not isinstance(value, (str, bytes, int)) and field.type != FieldDescriptor.TYPE_MESSAGE:
        return [_print_one(field, item, visible) for item in value]
    if field.type == FieldDescriptor.TYPE_MESSAGE and not isinstance(value, Message):
        return [_print_one(field, item, visible) for item in value]
    return _print_one(field, value, visible)


def _print_one(field: Any, value: Any, visible: bool) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return to_json(value, visible)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    if field.type == FieldDescriptor.TYPE_BYTES:
        return print_bytes(field.name, value, visible)
    return value


def print_bytes(name: str, value: bytes, visible: bool) -> str:
    if visible and _names_address(name) and is_address(value):
        return base58_address(value)
    return value.hex()


def _names_address(field: str) -> bool:
    """Whether java-tron prints and reads a field in base58 with ``visible`` (HttpSelfFormatFieldName)."""
    return field == "address" or field.endswith("_address")


def from_json(cls: Any, body: dict[str, Any], visible: bool) -> Any:
    """The message that java-tron would read from ``body``; fields it does not know are ignored.

    Raises BadAddress, ValueError or TypeError for values of the wrong form.
    """
    message = cls()
    for field in message.DESCRIPTOR.fields:
        value = body.get(field.name)
        if value is not None:
            _read(message, field, value, visible)
    return message


def _read(message: Message, field: Any, value: Any, visible: bool) -> None:
    if isinstance(value, list):
        target = getattr(message, field.name)
        for item in value:
            target.append(_read_one(field, item, visible))
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(message, field.name).CopyFrom(_read_one(field, value, visible))
    else:
        setattr(message, field.name, _read_one(field, value, visible))


def _read_one(field: Any, value: Any, visible: bool) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return from_json(message_factory.GetMessageClass(field.message_type), value, visible)
    if field.type == FieldDescriptor.TYPE_ENUM:
        if isinstance(value, int):
            return value if value in field.enum_type.values_by_number else 0
        # Solidity's ABI says "function" where the enum says Function; java-tron accepts both.
        name = value if isinstance(value, str) else ""
        found = field.enum_type.values_by_name.get(name[:1].upper() + name[1:])
        return found.number if found else 0
    if field.type == FieldDescriptor.TYPE_BYTES:
        return parse_address(value, True) if visible and _names_address(field.name) and value else parse_hex(value)
    if field.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_INT32):
        return int(value)
    return value
