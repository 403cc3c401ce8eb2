"""Protobuf messages, and their JSON as java-tron's JsonFormat prints and reads it.

Transfers and calls use tronpy's ``tron_pb2``. Contract creation and block headers are missing there; they are
declared here in a descriptor pool of their own, so that no second file claims package ``protocol``.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tronpy.proto import tron_pb2

from pipeline.devnet.encoding import base58_address, is_address, parse_address, parse_hex

_Field = descriptor_pb2.FieldDescriptorProto

_ENUMS = {
    "EntryType": ("UnknownEntryType", "Constructor", "Function", "Event", "Fallback", "Receive", "Error"),
    "StateMutability": ("UnknownMutabilityType", "Pure", "View", "Nonpayable", "Payable"),
}
# Field numbers of java-tron's core/contract/smart_contract.proto and core/Tron.proto (BlockHeader.raw).
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
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
    "BlockHeaderRaw": {
        1: ("timestamp", "int64"),
        2: ("txTrieRoot", "bytes"),
        3: ("parentHash", "bytes"),
        7: ("number", "int64"),
        9: ("witness_address", "bytes"),
        10: ("version", "int32"),
    },
}
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}


def _declare() -> dict[str, type[Message]]:
    package = "flagpost.devnet"
    file = descriptor_pb2.FileDescriptorProto(name="flagpost_devnet.proto", package=package, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field_name, declared) in fields.items():
            repeated, kind = declared.startswith("*"), declared.removeprefix("*")
            field = message.field.add(name=field_name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _Field.TYPE_ENUM if kind in _ENUMS else _Field.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in _MESSAGES
    }


_CLASSES = _declare()
CreateSmartContract: Any = _CLASSES["CreateSmartContract"]
SmartContract: Any = _CLASSES["SmartContract"]
BlockHeaderRaw: Any = _CLASSES["BlockHeaderRaw"]
TransferContract: Any = tron_pb2.TransferContract
TriggerSmartContract: Any = tron_pb2.TriggerSmartContract
Transaction: Any = tron_pb2.Transaction

CONTRACTS: dict[str, Any] = {
    "TransferContract": TransferContract,
    "TriggerSmartContract": TriggerSmartContract,
    "CreateSmartContract": CreateSmartContract,
}
"""The kinds of transaction this network executes; anything else is refused at validation."""


def kind_name(number: int) -> str:
    """``ContractType`` by its number, ``UNKNOWN_<n>`` beyond those that exist."""
    try:
        return str(Transaction.Contract.ContractType.Name(number))
    except ValueError:
        return f"UNKNOWN_{number}"


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
    if visible and name.endswith("_address") and is_address(value):
        return base58_address(value)
    return value.hex()


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
        # Solidity's ABI says "function" where the enum says Function; java-tron accepts both.
        name = value if isinstance(value, str) else ""
        found = field.enum_type.values_by_name.get(name[:1].upper() + name[1:])
        return found.number if found else 0
    if field.type == FieldDescriptor.TYPE_BYTES:
        return parse_address(value, True) if visible and field.name.endswith("_address") and value else parse_hex(value)
    if field.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_INT32):
        return int(value)
    return value
