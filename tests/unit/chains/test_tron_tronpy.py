"""Bytes built here are tronpy's to the last one."""

from dataclasses import replace

import pytest
from hypothesis import given

from tests.witness import witness

witness("tronpy")

from tronpy import Tron
from tronpy.abi import trx_abi
from tronpy.keys import PrivateKey, to_hex_address
from tronpy.proto import tron_pb2
from tronpy.proto.transaction import _raw_data_to_protobuf

from pipeline.chains.tron.codec import transaction
from pipeline.chains.tron.codec.transaction import TronTransfer
from tests.unit.chains.test_tron_transaction import BLOCK, BYTES, HASH, RECEIVER, TOKEN, TRX, transfers


def _theirs(transfer: TronTransfer) -> tuple[bytes, str]:
    """The same payment through tronpy's own offline builder: bytes and txid."""
    client = Tron(network="nile")
    if transfer.contract is None:
        builder = client.trx.transfer(transfer.sender, transfer.receiver, transfer.amount)
    else:
        builder = client.trx._build_transaction(
            "TriggerSmartContract",
            {
                "owner_address": to_hex_address(transfer.sender),
                "contract_address": to_hex_address(transfer.contract),
                "data": transaction.transfer_call(transfer.receiver, transfer.amount).hex(),
                "call_token_value": 0,
                "call_value": 0,
                "token_id": 0,
            },
        ).fee_limit(transfer.fee_limit)
    builder._raw_data |= {"timestamp": transfer.timestamp_ms, "expiration": transfer.expiration_ms}
    built = builder.build(offline=True, ref_block_id=BLOCK)
    return _raw_data_to_protobuf(built._raw_data).SerializeToString(), built.txid


@pytest.mark.parametrize("transfer", [TRX, TOKEN], ids=["trx", "token"])
def test_bytes_and_txid_are_tronpys(transfer: TronTransfer) -> None:
    raw = transaction.encode(transfer)
    assert (raw, transaction.txid(raw)) == _theirs(transfer)


@given(transfer=transfers)
def test_random_payments_are_tronpys_bytes(transfer: TronTransfer) -> None:
    transfer = replace(
        transfer, ref_block_bytes=BYTES, ref_block_hash=HASH, fee_limit=transfer.fee_limit if transfer.contract else 0
    )
    raw = transaction.encode(transfer)
    assert (raw, transaction.txid(raw)) == _theirs(transfer)


def test_abi_encoding_is_tronpys() -> None:
    encoded = trx_abi.encode(["address", "uint256"], [RECEIVER, 2**256 - 1])
    assert transaction.transfer_call(RECEIVER, 2**256 - 1) == transaction.TRANSFER_SELECTOR + encoded


@given(transfer=transfers)
def test_tronpy_reads_the_signed_bytes(transfer: TronTransfer) -> None:
    raw = transaction.encode(transfer)
    parsed = tron_pb2.Transaction.FromString(transaction.join(raw, bytes(65)))
    assert parsed.raw_data.SerializeToString() == raw
    assert list(parsed.signature) == [bytes(65)]


def test_signature_over_the_digest_is_accepted_by_tronpy() -> None:
    key = PrivateKey(bytes([7]) * 32)
    raw = transaction.encode(replace(TRX, sender=key.public_key.to_base58check_address()))
    signature = key.sign_msg_hash(transaction.digest(raw))
    assert signature.recover_public_key_from_msg_hash(bytes.fromhex(transaction.txid(raw))) == key.public_key
