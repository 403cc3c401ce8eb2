"""Only exact payments are read back. What they are changed with is the devnet's encoding, which knows more fields."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.errors import UndecodableTransaction
from pipeline.chains.tron.codec import address, transaction
from pipeline.chains.tron.codec.transaction import TronTransfer
from pipeline.devnet.messages import RawData, Transaction, TriggerSmartContract

SENDER = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
RECEIVER = "TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK"
USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
BLOCK = "000000000384f1d3a5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c"
BYTES, HASH = transaction.ref_block(BLOCK)
TRX = TronTransfer(SENDER, RECEIVER, 5_000_000, None, BYTES, HASH, 1_760_000_060_000, 1_760_000_000_000)
TOKEN = replace(TRX, contract=USDT, amount=250_123_456, fee_limit=15_000_000)

addresses = st.binary(min_size=20, max_size=20).map(address.from_bytes)
transfers = st.builds(
    TronTransfer,
    sender=addresses,
    receiver=addresses,
    amount=st.integers(1, 2**63 - 1),
    contract=st.none() | addresses,
    ref_block_bytes=st.binary(min_size=2, max_size=2),
    ref_block_hash=st.binary(min_size=8, max_size=8),
    expiration_ms=st.integers(1, 2**45),
    timestamp_ms=st.integers(1, 2**45),
    fee_limit=st.integers(0, 15_000_000_000),
)


@given(transfer=transfers)
def test_round_trip(transfer: TronTransfer) -> None:
    raw = transaction.encode(transfer)
    assert transaction.decode(raw) == transfer
    signed = transaction.join(raw, bytes(65))
    assert transaction.split(signed) == (raw, bytes(65))
    parsed = Transaction.FromString(signed)
    assert parsed.raw_data.SerializeToString() == raw
    assert list(parsed.signature) == [bytes(65)]


def _changed(change: str) -> bytes:
    message = RawData.FromString(transaction.encode(TOKEN))
    contract = message.contract[0]
    if change == "memo":
        message.data = b"hello"
    elif change == "permission":
        contract.Permission_id = 2
    elif change == "two contracts":
        message.contract.append(contract)
    elif change == "no contract":
        del message.contract[:]
    elif change == "other type url":
        contract.parameter.type_url = "type.googleapis.com/protocol.TransferContract"
    elif change == "asset transfer":
        contract.type = 2
    elif change == "vote":
        contract.type = 4
    elif change == "empty parameter":
        contract.parameter.CopyFrom(Any())
    else:
        call = TriggerSmartContract.FromString(contract.parameter.value)
        if change == "call value":
            call.call_value = 1
        elif change == "token value":
            call.call_token_value, call.token_id = 5, 1_000_001
        elif change == "approve":
            call.data = bytes.fromhex("095ea7b3") + call.data[4:]
        elif change == "longer call":
            call.data += b"\0"
        elif change == "dirty receiver":
            call.data = call.data[:15] + b"\x41" + call.data[16:]
        else:
            raise AssertionError(change)
        contract.parameter.value = call.SerializeToString()
    raw: bytes = message.SerializeToString()
    return raw


@pytest.mark.parametrize(
    "change",
    [
        "memo",
        "permission",
        "two contracts",
        "no contract",
        "other type url",
        "asset transfer",
        "vote",
        "empty parameter",
        "call value",
        "token value",
        "approve",
        "longer call",
        "dirty receiver",
    ],
)
def test_more_or_less_than_a_payment_is_not_decoded(change: str) -> None:
    with pytest.raises(UndecodableTransaction):
        transaction.decode(_changed(change))


def test_unknown_fields_and_garbage_are_not_decoded() -> None:
    raw = transaction.encode(TRX)
    for bad in (raw + b"\xf8\x07\x01", raw[:-1], b"", b"\xff" * 40, raw + raw):
        with pytest.raises(UndecodableTransaction):
            transaction.decode(bad)


def test_signed_ones_carry_one_signature() -> None:
    raw = transaction.encode(TRX)
    two = Transaction(signature=[bytes(65), bytes(65)])
    two.raw_data.ParseFromString(raw)
    for bad in (two.SerializeToString(), transaction.join(raw, bytes(65)) + b"\x28\x01", raw, b"\xff"):
        with pytest.raises(UndecodableTransaction):
            transaction.split(bad)
    with pytest.raises(ValueError, match="65 bytes"):
        transaction.join(raw, bytes(64))


@pytest.mark.parametrize("amount", [0, -1, 2**63])
def test_amounts_out_of_range_are_not_built(amount: int) -> None:
    with pytest.raises(ValueError, match="amount"):
        transaction.encode(replace(TRX, amount=amount))


def test_ref_block_is_taken_from_the_id() -> None:
    assert transaction.ref_block(BLOCK) == (bytes.fromhex("f1d3"), bytes.fromhex("a5d6e7f8091a2b3c"))
    with pytest.raises(ValueError, match="instead of 32"):
        transaction.ref_block("00ff")


@given(moment=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_milliseconds_are_exact(moment: datetime) -> None:
    back = transaction.from_milliseconds(transaction.to_milliseconds(moment))
    assert timedelta() <= moment - back < timedelta(milliseconds=1)
