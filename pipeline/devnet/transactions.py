"""A broadcast transaction as its bytes say it is, and the codes a node refuses it with."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from google.protobuf.message import DecodeError

from pipeline.devnet.encoding import is_address, sha256
from pipeline.devnet.messages import CONTRACTS, Transaction, kind_name

RESULT_BYTES = 64
"""What java-tron adds to a transaction's size for its result (MAX_RESULT_SIZE_IN_TX)."""


class Code(StrEnum):
    """``Return.response_code`` of java-tron."""

    SUCCESS = "SUCCESS"
    SIGERROR = "SIGERROR"
    CONTRACT_VALIDATE_ERROR = "CONTRACT_VALIDATE_ERROR"
    CONTRACT_EXE_ERROR = "CONTRACT_EXE_ERROR"
    BANDWITH_ERROR = "BANDWITH_ERROR"
    DUP_TRANSACTION_ERROR = "DUP_TRANSACTION_ERROR"
    TAPOS_ERROR = "TAPOS_ERROR"
    TOO_BIG_TRANSACTION_ERROR = "TOO_BIG_TRANSACTION_ERROR"
    TRANSACTION_EXPIRATION_ERROR = "TRANSACTION_EXPIRATION_ERROR"
    SERVER_BUSY = "SERVER_BUSY"
    NO_CONNECTION = "NO_CONNECTION"
    NOT_ENOUGH_EFFECTIVE_CONNECTION = "NOT_ENOUGH_EFFECTIVE_CONNECTION"
    BLOCK_UNSOLIDIFIED = "BLOCK_UNSOLIDIFIED"
    OTHER_ERROR = "OTHER_ERROR"


class Rejected(Exception):
    """A transaction the network does not take, with java-tron's code and words."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def invalid(message: str) -> Rejected:
    return Rejected(Code.CONTRACT_VALIDATE_ERROR, f"Contract validate error : {message}")


@dataclass(frozen=True)
class WireTransaction:
    """Decoded from the wire; nothing in it is believed but the bytes."""

    wire: bytes
    """``raw_data`` and signatures, without ``ret``."""
    message: Any
    raw: bytes
    txid: bytes

    @classmethod
    def decode(cls, wire: bytes) -> "WireTransaction":
        """Raises DecodeError for bytes that are no Transaction."""
        received = Transaction.FromString(wire)
        return cls.of(received.raw_data, list(received.signature))

    @classmethod
    def of(cls, raw_data: Any, signatures: list[bytes]) -> "WireTransaction":
        message = Transaction(raw_data=raw_data, signature=signatures)
        raw = raw_data.SerializeToString()
        return cls(message.SerializeToString(), message, raw, sha256(raw))

    @property
    def id(self) -> str:
        return self.txid.hex()

    @property
    def bandwidth(self) -> int:
        """Bytes that are charged."""
        return len(self.wire) + RESULT_BYTES

    @cached_property
    def kind(self) -> str:
        return kind_name(self.message.raw_data.contract[0].type)

    @cached_property
    def contract(self) -> Any:
        """The one contract, unpacked. Raises Rejected when it is of a kind this network does not execute."""
        packed = self.message.raw_data.contract[0]
        cls = CONTRACTS.get(self.kind)
        if cls is None:
            raise invalid(f"No contract of type {self.kind} on this network!")
        if not packed.parameter.type_url.endswith(f"/protocol.{self.kind}"):
            raise invalid(f"contract type error, expected type [{self.kind}], real type [{packed.parameter.type_url}]")
        try:
            return cls.FromString(packed.parameter.value)
        except DecodeError as error:
            raise invalid("Protocol message was malformed.") from error

    @cached_property
    def owner(self) -> bytes:
        owner = bytes(self.contract.owner_address)
        if not is_address(owner):
            raise invalid("Invalid ownerAddress!")
        return owner

    @property
    def fee_limit(self) -> int:
        return int(self.message.raw_data.fee_limit)

    @property
    def expiration(self) -> int:
        """Milliseconds since 1970."""
        return int(self.message.raw_data.expiration)
