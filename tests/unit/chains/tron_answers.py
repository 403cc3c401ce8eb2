"""java-tron's answers, made by hand: blocks, receipts, parameters."""

from typing import Any

from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.tron.codec import address, transaction
from pipeline.chains.tron.codec.transaction import TronTransfer
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, Family, Payment, SignedTransaction
from pipeline.keys.private import PrivateBranch
from tests.unit.chains.scripted_node import GENESIS, FakeTime, ScriptedNode

USDT = Asset("USDT", 6, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t")
TRX = Asset("TRX", 6)
OURS = PrivateBranch.from_mnemonic("abandon " * 11 + "about", Family.TRON)
SENDER, RECEIVER = OURS.public.address(0), OURS.public.address(1)
START_MS = 1_760_000_000_000
TRANSFER_TOPIC = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def provider_of(*nodes: ScriptedNode, time: FakeTime | None = None) -> TronProvider:
    """Over nodes that pass the comparison of block 0; sleeps only in fake time."""
    time = time or FakeTime()
    for node in nodes:
        inner = node.answers.get("wallet/getblockbynum")
        node.answers["wallet/getblockbynum"] = lambda body, inner=inner: (
            {"blockID": GENESIS} if body["num"] == 0 else inner(body) if callable(inner) else inner
        )
    configs = [NodeConfig(node.url) for node in nodes]
    return TronProvider(
        "tron", GENESIS, configs, [TRX, USDT], clock=Clock(time.monotonic, time.sleep), shared_seconds=0.0
    )


def block_id(number: int) -> str:
    return f"{number:016x}" + f"{number % 251:02x}" * 24


def header(number: int, at_ms: int | None = None) -> dict[str, Any]:
    return {
        "blockID": block_id(number),
        "block_header": {
            "raw_data": {
                "number": number,
                "timestamp": START_MS + 3000 * number if at_ms is None else at_ms,
                "parentHash": block_id(number - 1),
            }
        },
    }


def signed_payment(payment: Payment, *, ref: int = 100, expiration_ms: int = START_MS + 60_000) -> SignedTransaction:
    ref_bytes, ref_hash = transaction.ref_block(block_id(ref))
    raw = transaction.encode(
        TronTransfer(
            payment.sender, payment.receiver, payment.amount, payment.asset.contract, ref_bytes, ref_hash,
            expiration_ms, START_MS, 10_000_000 if payment.asset.contract else 0,
        )
    )  # fmt: skip
    signature = OURS.key(0).sign(transaction.digest(raw))
    return SignedTransaction(
        txid=transaction.txid(raw),
        raw=transaction.join(raw, signature),
        sender=payment.sender,
        fee_cap=1,
        expiration=transaction.from_milliseconds(expiration_ms),
        ref_block=ref,
    )


def listed(signed: SignedTransaction, contract_result: str = "SUCCESS") -> dict[str, Any]:
    """The transaction as a block lists it."""
    raw, signature = transaction.split(signed.raw)
    return {
        "ret": [{"contractRet": contract_result}],
        "signature": [signature.hex()],
        "txID": signed.txid,
        "raw_data_hex": raw.hex(),
    }


def receipt(signed: SignedTransaction, number: int, **fields: Any) -> dict[str, Any]:
    return {"id": signed.txid, "blockNumber": number, "blockTimeStamp": START_MS, "receipt": {}} | fields


def transfer_log(payment: Payment) -> dict[str, Any]:
    """The Transfer log of a token payment, java-tron's way: no 0x, no 41."""
    assert payment.asset.contract is not None
    words = [address.to_tail(one).rjust(32, b"\0").hex() for one in (payment.sender, payment.receiver)]
    return {
        "address": address.to_tail(payment.asset.contract).hex(),
        "topics": [TRANSFER_TOPIC, *words],
        "data": f"{payment.amount:064x}",
    }
