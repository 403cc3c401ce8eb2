"""TRON transactions, built and read here.

Two contracts exist for us: TransferContract (TRX) and TriggerSmartContract calling
``transfer(address,uint256)`` (TRC20). Reading is strict: bytes count as a payment only if building
that payment anew gives the same bytes, so that nothing hides in a memo, a permission id, a call value,
a second contract or an unknown field.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from pipeline.chains.errors import InvalidAddress, UndecodableTransaction
from pipeline.chains.tron.codec import address, messages

TRANSFER_SELECTOR = bytes.fromhex("a9059cbb")
"""transfer(address,uint256)"""
SIGNATURE_BYTES = 65

_MAX_INT64 = 2**63 - 1
_MAX_UINT256 = 2**256 - 1
_TYPE_URL = "type.googleapis.com/protocol."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_REMEMBERED = 512
"""Transactions: each is built and read by its sender, its signer, and again before it is kept."""


@dataclass(frozen=True, slots=True)
class TronTransfer:
    """Everything that a payment's ``raw_data`` says."""

    sender: str
    receiver: str
    amount: int
    """Sun, or the token's raw units."""
    contract: str | None
    """None: TRX."""
    ref_block_bytes: bytes
    """Bytes 6–8 of the height of the block referred to (TAPOS)."""
    ref_block_hash: bytes
    """Bytes 8–16 of its id."""
    expiration_ms: int
    timestamp_ms: int
    fee_limit: int = 0
    """Sun; 0 for TRX."""


def ref_block(block_id: str) -> tuple[bytes, bytes]:
    """``ref_block_bytes`` and ``ref_block_hash`` for a block id of 64 hex digits."""
    raw = bytes.fromhex(block_id)
    if len(raw) != 32:
        raise ValueError(f"block id {block_id!r} has {len(raw)} bytes instead of 32")
    return raw[6:8], raw[8:16]


@lru_cache(_REMEMBERED)
def encode(transfer: TronTransfer) -> bytes:
    """The ``raw_data`` bytes. Raises InvalidAddress, ValueError for an amount out of range."""
    raw: bytes = messages.RawData(
        ref_block_bytes=transfer.ref_block_bytes,
        ref_block_hash=transfer.ref_block_hash,
        expiration=transfer.expiration_ms,
        timestamp=transfer.timestamp_ms,
        fee_limit=transfer.fee_limit,
        contract=[_contract(transfer)],
    ).SerializeToString(deterministic=True)
    return raw


@lru_cache(_REMEMBERED)
def decode(raw: bytes) -> TronTransfer:
    """Read ``raw_data`` back. Raises UndecodableTransaction unless it is exactly one payment."""
    message = messages.RawData()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise UndecodableTransaction(f"not TRON raw_data: {error}") from error
    if len(message.contract) != 1:
        raise UndecodableTransaction(f"{len(message.contract)} contracts in one transaction, exactly one is a payment")
    try:
        transfer = _read(message)
        again = encode(transfer)
    except (DecodeError, InvalidAddress, ValueError) as error:
        raise UndecodableTransaction(f"not a payment: {error}") from error
    if again != raw:
        raise UndecodableTransaction("the transaction carries more than a payment (memo, permission id, call value, …)")
    return transfer


def join(raw: bytes, signature: bytes) -> bytes:
    """The signed transaction that goes to a node."""
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(signature)}")
    message = messages.Transaction(signature=[signature])
    message.raw_data.ParseFromString(raw)
    signed: bytes = message.SerializeToString(deterministic=True)
    return signed


def split(signed: bytes) -> tuple[bytes, bytes]:
    """``raw_data`` and signature of a signed transaction.

    Raises UndecodableTransaction when there is not exactly one signature or anything else besides.
    """
    message = messages.Transaction()
    try:
        message.ParseFromString(signed)
    except DecodeError as error:
        raise UndecodableTransaction(f"not a TRON transaction: {error}") from error
    if len(message.signature) != 1 or len(message.signature[0]) != SIGNATURE_BYTES:
        raise UndecodableTransaction("a signed payment carries exactly one signature of 65 bytes")
    raw: bytes = message.raw_data.SerializeToString(deterministic=True)
    signature: bytes = message.signature[0]
    if join(raw, signature) != signed:
        raise UndecodableTransaction("the signed transaction carries more than raw_data and one signature")
    return raw, signature


def txid(raw: bytes) -> str:
    """The id of a transaction: sha256 of its ``raw_data``, 64 lower-case hex digits."""
    return sha256(raw).hexdigest()


def digest(raw: bytes) -> bytes:
    """The 32 bytes that are signed: those of the txid."""
    return sha256(raw).digest()


def transfer_call(receiver: str, amount: int) -> bytes:
    """Call data of ``transfer(receiver, amount)``."""
    if not 0 <= amount <= _MAX_UINT256:
        raise ValueError(f"amount {amount} does not fit a uint256")
    return TRANSFER_SELECTOR + address.to_tail(receiver).rjust(32, b"\0") + amount.to_bytes(32, "big")


def to_milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """An aware UTC datetime."""
    return _EPOCH + milliseconds * _MILLISECOND


def _contract(transfer: TronTransfer) -> Any:
    if transfer.amount <= 0:
        raise ValueError(f"amount {transfer.amount} is not above zero")
    if transfer.contract is None:
        if transfer.amount > _MAX_INT64:
            raise ValueError(f"amount {transfer.amount} sun does not fit an int64")
        kind, name = messages.TRANSFER, "TransferContract"
        body = messages.TransferContract(
            owner_address=address.to_bytes(transfer.sender),
            to_address=address.to_bytes(transfer.receiver),
            amount=transfer.amount,
        )
    else:
        kind, name = messages.TRIGGER, "TriggerSmartContract"
        body = messages.TriggerSmartContract(
            owner_address=address.to_bytes(transfer.sender),
            contract_address=address.to_bytes(transfer.contract),
            data=transfer_call(transfer.receiver, transfer.amount),
        )
    packed = AnyMessage(type_url=_TYPE_URL + name, value=body.SerializeToString(deterministic=True))
    return messages.Contract(type=kind, parameter=packed)


def _read(message: Any) -> TronTransfer:
    contract = message.contract[0]
    if contract.type == messages.TRANSFER:
        coin = messages.TransferContract.FromString(contract.parameter.value)
        sender, receiver, amount = coin.owner_address, coin.to_address, coin.amount
        token = None
    elif contract.type == messages.TRIGGER:
        call = messages.TriggerSmartContract.FromString(contract.parameter.value)
        if call.data[:4] != TRANSFER_SELECTOR or len(call.data) != 68:
            raise ValueError("the call is not transfer(address,uint256)")
        sender, receiver = call.owner_address, call.data[16:36]
        amount, token = int.from_bytes(call.data[36:], "big"), address.from_bytes(call.contract_address)
    else:
        raise ValueError(f"contract type {contract.type} is neither TransferContract nor TriggerSmartContract")
    return TronTransfer(
        sender=address.from_bytes(sender),
        receiver=address.from_bytes(receiver),
        amount=amount,
        contract=token,
        ref_block_bytes=message.ref_block_bytes,
        ref_block_hash=message.ref_block_hash,
        expiration_ms=message.expiration,
        timestamp_ms=message.timestamp,
        fee_limit=message.fee_limit,
    )
