"""Protobuf messages declared in tables, without .proto files and a compiler for them.

Wire format and field numbers are what two programs must agree on; package and file names are not on the wire.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}


def declare(
    package: str,
    messages: Mapping[str, Mapping[int, tuple[str, str]]],
    enums: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """The class of each message.

    ``messages``: name → field number → name and type. A type is a scalar's, ``Any``, or a name of ``messages`` or
    ``enums``; ``*`` before it: repeated. ``package`` is nobody else's in this process.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3", dependency=[any_pb2.DESCRIPTOR.name]
    )
    for name, values in enums.items():
        # In a message of its own: the values of java-tron's enums have the names of its messages.
        enum = file.message_type.add(name=f"{name}Scope").enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field_name, declared) in fields.items():
            kind = declared.removeprefix("*")
            field = message.field.add(name=field_name, number=number)
            field.label = _Field.LABEL_REPEATED if kind != declared else _Field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            elif kind in enums:
                field.type, field.type_name = _Field.TYPE_ENUM, f".{package}.{kind}Scope.{kind}"
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = ".google.protobuf.Any" if kind == "Any" else f".{package}.{kind}"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}
