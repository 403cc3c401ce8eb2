"""From java-tron's blocks and receipts to results that can be trusted as far as they can be checked.

Ids are recomputed from the bytes, and what a plain transfer did is read from those bytes, not from the
node's rendering of them.
"""

from typing import Any

from google.protobuf.message import DecodeError
from loguru import logger

from pipeline.chains.errors import InvalidAddress, LyingNode
from pipeline.chains.http import NodeFailure
from pipeline.chains.provider import BlockContent, BlockRef, Effect, Finality, TransactionResult
from pipeline.chains.tron import address, messages
from pipeline.chains.tron.node import TronNode, block_ref, decoded_message, reading
from pipeline.chains.tron.transaction import txid

TRANSFER_TOPIC = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")"""


async def read_block(node: TronNode, number: int, finality: Finality) -> BlockContent | None:
    """Block ``number`` with all results, None when this node does not have it at that finality. A transaction that
    makes no sense is listed as unreadable: a stranger's must not hold up ours.

    Raises LyingNode, NodeFailure (also when all receipts are missing: ``[]`` is what a node without the block says).
    """
    answer = await node.call("getblockbynum", finality, {"num": number})
    if answer == {}:
        return None
    block = block_ref(node, answer, number)
    with reading(node, f"block {number}"):
        parent = str(answer["block_header"]["raw_data"]["parentHash"])
        # Block 0 lists the first balances as transactions that nobody signed and that have no receipts.
        transactions = list(answer.get("transactions", ())) if number > 0 else []
    infos = {}
    if transactions:
        receipts = await node.call("gettransactioninfobyblocknum", finality, {"num": number})
        with reading(node, f"receipts of block {number}"):
            infos = {receipt["id"]: receipt for receipt in receipts}
        if not infos:
            raise NodeFailure("no receipts", f"{node.name} has no receipts for block {number}")
    results, unreadable = [], set()
    for transaction in transactions:
        try:
            results.append(_result(node, block, transaction, infos))
        except NodeFailure as failure:
            unreadable.add(_txid(node, block, transaction))
            logger.debug("{}", failure)
    return BlockContent(block, parent, tuple(results), frozenset(unreadable))


async def read_transaction(node: TronNode, wanted: str, finality: Finality) -> TransactionResult | None:
    """The result of one transaction, None when this node knows of none at that finality.

    Raises LyingNode, NodeFailure.
    """
    info = await node.call("gettransactioninfobyid", finality, {"value": wanted})
    if info == {}:
        return None
    with reading(node, f"transaction {wanted}"):
        number, found = int(info["blockNumber"]), str(info["id"])
    if found != wanted:
        raise LyingNode(f"node {node.name} was asked for transaction {wanted} and answered {found}")
    answer = await node.call("getblockbynum", finality, {"num": number})
    if answer == {}:
        raise NodeFailure("no block", f"{node.name} says {wanted} is in block {number} but does not have that block")
    block = block_ref(node, answer, number)
    for transaction in answer.get("transactions", ()):
        if transaction.get("txID") == wanted:
            return _result(node, block, transaction, {wanted: info})
    raise NodeFailure("no transaction", f"{node.name} says {wanted} is in block {number}, but that block lacks it")


def _result(node: TronNode, block: BlockRef, transaction: Any, infos: dict[str, Any]) -> TransactionResult:
    with reading(node, f"a transaction of block {block.number}"):
        claimed, raw = str(transaction["txID"]), bytes.fromhex(transaction["raw_data_hex"])
        contract_result = str(transaction["ret"][0].get("contractRet", ""))
    computed = txid(raw)
    if claimed != computed:
        raise LyingNode(f"node {node.name} lists txid {claimed} in block {block.number}, its bytes have {computed}")
    info = infos.get(computed)
    if info is None:
        raise NodeFailure("no receipt", f"{node.name} has no receipt for {computed} of block {block.number}")
    with reading(node, f"the receipt of {computed}"):
        outcome = str(info.get("receipt", {}).get("result", ""))
        # A plain transfer's receipt has no result at all; a contract's must say SUCCESS as well.
        success = contract_result == "SUCCESS" and outcome in ("", "SUCCESS") and info.get("result") != "FAILED"
        return TransactionResult(
            txid=computed,
            block=block,
            success=success,
            fee=int(info.get("fee", 0)),
            effects=_effects(raw, info) if success else (),
            message="" if success else decoded_message(info.get("resMessage")) or outcome or contract_result,
        )


def _txid(node: TronNode, block: BlockRef, transaction: Any) -> str:
    """The id of a transaction by its bytes. Raises NodeFailure without bytes: then nothing can be told of the block."""
    with reading(node, f"a transaction of block {block.number}"):
        return txid(bytes.fromhex(transaction["raw_data_hex"]))


def _effects(raw: bytes, info: Any) -> tuple[Effect, ...]:
    effects = [_own_value(raw)]
    effects += [_log_transfer(log) for log in info.get("log", ())]
    for inner in info.get("internal_transactions", ()):
        if not inner.get("rejected", False):
            effects += _inner_values(inner)
    return tuple(effect for effect in effects if effect is not None)


def _own_value(raw: bytes) -> Effect | None:
    """The coins that the transaction itself carries."""
    try:
        message = messages.RawData.FromString(raw)
        contract = message.contract[0]
        if contract.type == messages.TRANSFER:
            coin = messages.TransferContract.FromString(contract.parameter.value)
            sender, receiver, amount = coin.owner_address, coin.to_address, coin.amount
        elif contract.type == messages.TRIGGER:
            call = messages.TriggerSmartContract.FromString(contract.parameter.value)
            sender, receiver, amount = call.owner_address, call.contract_address, call.call_value
        else:
            return None
    except DecodeError as error:
        raise ValueError(f"raw_data cannot be parsed: {error}") from error
    if amount == 0:
        return None
    return Effect(None, _address(sender), _address(receiver), amount)


def _log_transfer(log: Any) -> Effect | None:
    """The Transfer that a log records; None for any other event."""
    topics, data = log.get("topics", ()), log.get("data", "")
    if len(topics) != 3 or topics[0] != TRANSFER_TOPIC or len(data) != 64:
        return None
    return Effect(
        _address(bytes.fromhex(log["address"])[-20:]),
        _address(bytes.fromhex(topics[1])[-20:]),
        _address(bytes.fromhex(topics[2])[-20:]),
        int(data, 16),
    )


def _inner_values(inner: Any) -> list[Effect | None]:
    """Coins that a contract moved; TRC10 tokens (with a tokenId) are none."""
    values = [value for value in inner.get("callValueInfo", ()) if value.get("callValue") and not value.get("tokenId")]
    sender, receiver = inner.get("caller_address", ""), inner.get("transferTo_address", "")
    return [
        Effect(None, _address(bytes.fromhex(sender)), _address(bytes.fromhex(receiver)), int(value["callValue"]))
        for value in values
    ]


def _address(raw: bytes) -> str:
    try:
        return address.from_bytes(raw)
    except InvalidAddress as error:
        raise ValueError(str(error)) from error
