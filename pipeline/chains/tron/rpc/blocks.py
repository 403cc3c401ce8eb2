"""From java-tron's blocks and receipts to results that can be trusted as far as they can be checked.

Ids are recomputed from the bytes, and what a plain transfer did is read from those bytes, not from the
node's rendering of them.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from pipeline.chains.errors import InconsistentNode, InvalidAddress
from pipeline.chains.rpc.answers import (
    MAX_HEIGHT,
    MalformedAnswer,
    bare_hash,
    field,
    hex_bytes,
    mapping,
    sequence,
    text,
    whole,
)
from pipeline.chains.rpc.http import TOO_LARGE, NodeFailure
from pipeline.chains.rpc.receipts import content_of
from pipeline.chains.tron.codec import address, messages
from pipeline.chains.tron.codec.transaction import txid as txid_of
from pipeline.chains.tron.rpc.node import TronNode, block_ref, decoded_message, reading
from pipeline.chains.values import BlockContent, BlockRef, Effect, Finality, TransactionResult

TRANSFER_TOPIC = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
"""keccak256("Transfer(address,address,uint256)")"""
_MOST_SINGLY = 20
"""Receipts of a block asked for one by one. A node that lacks more has none of that block."""
_MOST_RETS = 16
"""Results of one transaction; there is one for each contract, so one."""


async def read_block(node: TronNode, number: int, finality: Finality) -> BlockContent | None:
    """Block ``number`` with all results, None when this node does not have it at that finality. A transaction that
    makes no sense is listed as unreadable: one of somebody else must not hold up ours.

    Raises InconsistentNode, Partial where receipts are missing, NodeFailure (also when all are: ``[]`` is what a node
    without the block says).
    """
    answer = await node.call("getblockbynum", finality, {"num": number})
    if answer == {}:
        return None
    block = block_ref(node, answer, number)
    with reading(node, f"block {number}"):
        header = field(field(answer, "block_header"), "raw_data")
        parent = bare_hash(field(header, "parentHash"), "parentHash")
        # Block 0 lists the first balances as transactions that nobody signed and that have no receipts.
        transactions = _transactions(answer) if number > 0 else []
    listed = {_txid(node, block, transaction): transaction for transaction in transactions}
    infos = await _receipts(node, block, finality, list(listed)) if listed else {}
    return content_of(
        node, block, parent, listed, infos, lambda txid: _result(node, block, txid, listed[txid], infos[txid])
    )


async def read_transaction(node: TronNode, wanted: str, finality: Finality) -> TransactionResult | None:
    """The result of one transaction, None when this node knows of none at that finality.

    Raises InconsistentNode, NodeFailure.
    """
    info = await node.call("gettransactioninfobyid", finality, {"value": wanted})
    if info == {}:
        return None
    with reading(node, f"transaction {wanted}"):
        number, found = whole(field(info, "blockNumber"), "blockNumber", MAX_HEIGHT), bare_hash(field(info, "id"), "id")
    if found != wanted:
        raise InconsistentNode(f"node {node.name} was asked for transaction {wanted} and answered {found}")
    answer = await node.call("getblockbynum", finality, {"num": number})
    if answer == {}:
        raise NodeFailure("no block", f"{node.name} says {wanted} is in block {number} but does not have that block")
    block = block_ref(node, answer, number)
    with reading(node, f"block {number}"):
        transactions = _transactions(answer)
    for transaction in transactions:
        if field(transaction, "txID") == wanted and _txid(node, block, transaction) == wanted:
            return _result(node, block, wanted, transaction, info)
    raise NodeFailure("no transaction", f"{node.name} says {wanted} is in block {number}, but that block lacks it")


def _transactions(block: Any) -> list[Any]:
    """What a block lists; nothing stands for none. Raises MalformedAnswer."""
    listed = field(block, "transactions")
    return [] if listed is None else [mapping(one, "a transaction") for one in sequence(listed, "transactions")]


async def _receipts(node: TronNode, block: BlockRef, finality: Finality, txids: Sequence[str]) -> dict[str, Any]:
    """The receipts of a block by transaction. A few that its list lacks are asked for singly; what is missing then,
    this node does not have. Raises InconsistentNode, NodeFailure."""
    wanted = set(txids)
    answer = await _list_of_receipts(node, block, finality)
    with reading(node, f"receipts of block {block.number}"):
        infos = {txid: one for one in answer if (txid := bare_hash(field(one, "id"), "id")) in wanted}
    missing = [txid for txid in txids if txid not in infos]
    if not infos and len(missing) > _MOST_SINGLY:
        raise NodeFailure("no receipts", f"{node.name} has no receipts for block {block.number}")
    for txid in missing[:_MOST_SINGLY]:
        info = await node.call("gettransactioninfobyid", finality, {"value": txid})
        if info == {}:
            continue
        with reading(node, f"the receipt of {txid}"):
            found = bare_hash(field(info, "id"), "id")
        if found != txid:
            raise InconsistentNode(f"node {node.name} was asked for transaction {txid} and answered {found}")
        infos[txid] = info
    if not infos:
        raise NodeFailure("no receipts", f"{node.name} has no receipts for block {block.number}")
    return infos


async def _list_of_receipts(node: TronNode, block: BlockRef, finality: Finality) -> list[Any]:
    """All that the node gives at once; nothing where that is too much. Raises NodeFailure."""
    try:
        answer = await node.call("gettransactioninfobyblocknum", finality, {"num": block.number})
    except NodeFailure as failure:
        if failure.code != TOO_LARGE:
            raise
        return []
    with reading(node, f"receipts of block {block.number}"):
        return sequence(answer, "receipts")


def _txid(node: TronNode, block: BlockRef, transaction: Any) -> str:
    """The id of a transaction by its bytes. Raises InconsistentNode where another one is named, NodeFailure without
    bytes: then nothing can be told of the block."""
    with reading(node, f"a transaction of block {block.number}"):
        claimed = bare_hash(field(transaction, "txID"), "txID")
        computed = txid_of(hex_bytes(field(transaction, "raw_data_hex"), "raw_data_hex"))
    if claimed != computed:
        raise InconsistentNode(
            f"node {node.name} lists txid {claimed} in block {block.number}, its bytes have {computed}"
        )
    return computed


def _result(node: TronNode, block: BlockRef, txid: str, transaction: Any, info: Any) -> TransactionResult:
    """Raises NodeFailure, also for a receipt of another block."""
    with reading(node, f"the receipt of {txid}"):
        number = whole(field(info, "blockNumber"), "blockNumber", MAX_HEIGHT)
        if number != block.number:
            raise MalformedAnswer("blockNumber", number, f"{block.number}")
        rets = sequence(field(transaction, "ret"), "ret", _MOST_RETS)
        contract_result = text(field(rets[0], "contractRet"), "contractRet") if rets else ""
        receipt = field(info, "receipt")
        outcome = "" if receipt is None else text(field(receipt, "result"), "result")
        # A plain transfer's receipt has no result at all; a contract's must say SUCCESS as well.
        success = contract_result == "SUCCESS" and outcome in ("", "SUCCESS") and field(info, "result") != "FAILED"
        effects = _effects(hex_bytes(field(transaction, "raw_data_hex"), "raw_data_hex"), info) if success else ()
        message = "" if success else decoded_message(field(info, "resMessage")) or outcome or contract_result
        return TransactionResult(txid, block, success, whole(field(info, "fee"), "fee", missing=0), effects, message)


def _effects(raw: bytes, info: Any) -> tuple[Effect, ...]:
    effects = [_own_value(raw)]
    effects += [log_transfer(log, f"l{position}") for position, log in enumerate(_listed(info, "log"))]
    position = 0
    for inner in _listed(info, "internal_transactions"):
        if field(inner, "rejected") not in (True, False, None):
            raise MalformedAnswer("rejected", field(inner, "rejected"), "true or false")
        values = _listed(inner, "callValueInfo")
        if not field(inner, "rejected"):
            effects += _inner_values(inner, values, position)
        position += len(values)
    return tuple(effect for effect in effects if effect is not None)


def _listed(info: Any, name: str) -> list[Any]:
    """java-tron leaves out an empty list. Raises MalformedAnswer."""
    found = field(info, name)
    return [] if found is None else sequence(found, name)


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
    except (DecodeError, IndexError) as error:
        raise MalformedAnswer("raw_data_hex", raw.hex(), "a transaction") from error
    if amount == 0:
        return None
    return Effect(None, _address(sender), _address(receiver), amount, "v")


def log_transfer(log: Any, place: str | None) -> Effect | None:
    """The Transfer that a log records, in the ``place`` of its effect; None for any other event: a contract may log
    what it likes. Raises MalformedAnswer."""
    topics = [hex_bytes(topic, "a topic") for topic in _listed(log, "topics")]
    data = hex_bytes("" if field(log, "data") is None else field(log, "data"), "data")
    if len(topics) != 3 or topics[0] != TRANSFER_TOPIC or len(data) != 32:
        return None
    contract, sender, receiver = hex_bytes(field(log, "address"), "address"), topics[1], topics[2]
    token, payer, payee = (_address(party[-20:]) for party in (contract, sender, receiver))
    return Effect(token, payer, payee, int.from_bytes(data, "big"), place)


def _inner_values(inner: Any, values: Sequence[Any], first: int) -> list[Effect]:
    """Coins that a contract moved, the first of ``values`` in place ``first``; TRC10 tokens (with a tokenId) are none.
    Raises MalformedAnswer."""
    amounts = [
        (position, amount)
        for position, value in enumerate(values, first)
        if (amount := whole(field(value, "callValue"), "callValue", missing=0)) and not field(value, "tokenId")
    ]
    if not amounts:
        return []
    parties = (hex_bytes(field(inner, name), name) for name in ("caller_address", "transferTo_address"))
    sender, receiver = map(_address, parties)
    return [Effect(None, sender, receiver, amount, f"i{position}") for position, amount in amounts]


def _address(raw: bytes) -> str:
    """Raises MalformedAnswer."""
    try:
        return address.from_bytes(raw)
    except InvalidAddress:
        raise MalformedAnswer("an address", raw.hex(), "20 bytes, or 41 and 20 bytes") from None
