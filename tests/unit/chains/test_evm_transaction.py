"""Bytes built here against those of eth_account, and everything that is not exactly one payment refused."""

import contextlib
from dataclasses import replace

import pytest
import rlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chains.errors import BadSignature, UndecodableTransaction
from pipeline.chains.evm.codec import address, transaction
from pipeline.chains.evm.codec.transaction import EvmTransfer, GasPrice
from pipeline.curve import PrivateKey

KEY = PrivateKey(bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"))
SENDER = address.from_public_key(KEY.public_key)
RECEIVER = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
TOKEN = "0xdAC17F958D2ee523a2206206994597C13D831ec7"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

transfers = st.builds(
    EvmTransfer,
    chain_id=st.sampled_from([1, 56, 31337, 2**40]),
    nonce=st.integers(0, 2**32),
    receiver=st.binary(min_size=20, max_size=20).map(address.from_bytes),
    amount=st.integers(1, 2**256 - 1),
    contract=st.none() | st.just(TOKEN),
    gas_limit=st.integers(21_000, 10**7),
    fees=st.builds(GasPrice, st.integers(10**6, 10**12), st.none() | st.integers(0, 10**6)),
)
PLAIN = EvmTransfer(1, 7, RECEIVER, 10**18, None, 21_000, GasPrice(3 * 10**9, 10**9))
IN_TOKENS = replace(PLAIN, contract=TOKEN, gas_limit=65_000)


def signed(transfer: EvmTransfer) -> bytes:
    raw = transaction.encode(transfer)
    return transaction.join(raw, KEY.sign(transaction.digest(raw)))


@given(transfers)
def test_the_same_bytes_as_eth_account(transfer: EvmTransfer) -> None:
    token = transfer.contract is not None
    fees = transfer.fees
    theirs = Account.from_key(KEY.secret).sign_transaction(
        {
            "chainId": transfer.chain_id,
            "nonce": transfer.nonce,
            "to": transfer.contract or transfer.receiver,
            "value": 0 if token else transfer.amount,
            "data": transaction.transfer_call(transfer.receiver, transfer.amount) if token else b"",
            "gas": transfer.gas_limit,
        }
        | (
            {"gasPrice": fees.max_fee}
            if fees.tip is None
            else {"maxFeePerGas": fees.max_fee, "maxPriorityFeePerGas": fees.tip, "type": 2}
        )
    )
    ours = signed(transfer)
    assert ours == bytes(theirs.raw_transaction)
    assert transaction.txid(ours) == theirs.hash.to_0x_hex()
    assert Account.recover_transaction(ours) == SENDER


@given(transfers)
def test_reading_gives_what_was_built(transfer: EvmTransfer) -> None:
    raw = transaction.encode(transfer)
    assert transaction.decode(raw) == transfer
    body, signature = transaction.split(signed(transfer))
    assert body == raw
    assert transaction.recover(body, signature) == SENDER


@given(transfers, st.data())
def test_a_flipped_bit_is_another_payment_or_none(transfer: EvmTransfer, data: st.DataObject) -> None:
    raw = bytearray(transaction.encode(transfer))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(UndecodableTransaction):
        assert transaction.decode(bytes(raw)) != transfer


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_worse(noise: bytes) -> None:
    for read in (transaction.decode, transaction.split):
        with pytest.raises(UndecodableTransaction):
            read(noise)


def fields_of(transfer: EvmTransfer) -> list[bytes]:
    return list(rlp.decode(transaction.encode(transfer)[1:]))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (5, b"", "creates a contract"),
        (7, b"\x01", "not transfer"),
        (7, transaction.transfer_call(RECEIVER, 5)[:-1], "not transfer"),
        (7, transaction.transfer_call(RECEIVER, 5) + b"\0", "not transfer"),
        (7, bytes.fromhex("095ea7b3") + transaction.transfer_call(RECEIVER, 5)[4:], "not transfer"),
        (7, transaction.transfer_call(RECEIVER, 5), "wei along"),
        (8, [[bytes(20), []]], "access list"),
        (6, b"", "amount 0"),
        (1, b"\0\1", "another form"),
        (2, b"\xff" * 8, "tip"),
        (4, b"", "gas limit 0"),
    ],
)
def test_more_than_a_payment_is_refused(place: int, value: bytes, message: str) -> None:
    fields = fields_of(PLAIN)
    fields[place] = value
    with pytest.raises(UndecodableTransaction, match=message):
        transaction.decode(transaction.DYNAMIC_FEE + rlp.encode(fields))


def test_dirty_padding_of_the_receiver_is_refused() -> None:
    fields = fields_of(IN_TOKENS)
    call = bytearray(fields[7])
    call[4] = 1
    fields[7] = bytes(call)
    with pytest.raises(UndecodableTransaction, match="more than a payment"):
        transaction.decode(transaction.DYNAMIC_FEE + rlp.encode(fields))


@pytest.mark.parametrize("kind", [b"\x01", b"\x03", b"\x04"])
def test_other_envelopes_are_refused(kind: bytes) -> None:
    with pytest.raises(UndecodableTransaction):
        transaction.decode(kind + transaction.encode(PLAIN)[1:])


def test_a_legacy_transaction_of_any_chain_is_refused() -> None:
    raw = transaction.encode(replace(PLAIN, fees=GasPrice(5, None)))
    r_s = KEY.sign(transaction.digest(raw))
    fields = [*rlp.decode(raw)[:6], b"\x1b", r_s[:32], r_s[32:64]]
    with pytest.raises(UndecodableTransaction, match="replay protection"):
        transaction.split(rlp.encode(fields))


def test_the_other_half_of_the_curve_is_refused() -> None:
    raw = transaction.encode(PLAIN)
    good = KEY.sign(transaction.digest(raw))
    high = (ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    with pytest.raises(BadSignature, match="lower half"):
        transaction.join(raw, good[:32] + high + bytes([good[64] ^ 1]))


@pytest.mark.parametrize("signature", [b"", bytes(65), b"\x01" * 64, b"\x01" * 64 + b"\x02", b"\x01" * 66])
def test_what_is_no_signature(signature: bytes) -> None:
    for use in (transaction.join, transaction.recover):
        with pytest.raises(BadSignature):
            use(transaction.encode(PLAIN), signature)


@given(st.integers(0, 10**12), st.none() | st.integers(0, 10**12))
def test_a_bump_is_at_least_15_percent_and_a_wei(max_fee: int, tip: int | None) -> None:
    fees = GasPrice(max_fee, tip)
    bumped = fees.bumped()
    for before, after in ((fees.max_fee, bumped.max_fee), (fees.tip, bumped.tip)):
        if before is None or after is None:
            assert before is after
        else:
            assert after * 100 >= before * 115
            assert after > before
            assert after <= before * 115 // 100 + 1
