"""From a node's blocks, transactions and receipts to results that can be trusted as far as they can be checked.

Coins moved inside contracts are in no receipt and not seen here; a payment of ours carries its coins itself.
"""

import re
from collections.abc import Sequence
from typing import Any

from pipeline.chains.errors import InconsistentNode, InvalidAddress
from pipeline.chains.evm.codec import address
from pipeline.chains.evm.rpc import delegations, l1_fee
from pipeline.chains.evm.rpc.node import (
    METHOD_NOT_FOUND,
    EvmNode,
    Request,
    RpcError,
    block_ref,
    hash_text,
    reading,
    wanted,
)
from pipeline.chains.rpc.answers import (
    MAX_COUNT,
    MAX_HEIGHT,
    MAX_PRICE,
    MalformedAnswer,
    field,
    hex_bytes,
    mapping,
    quantity,
    sequence,
)
from pipeline.chains.rpc.http import NodeFailure
from pipeline.chains.rpc.receipts import content_of
from pipeline.chains.values import BlockContent, BlockRef, Effect, Finality, TransactionResult

TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")"""

_ADDRESS_WORD = re.compile(r"0x0{24}([0-9a-fA-F]{40})", re.ASCII)
_FINALIZED: Request = ("eth_getBlockByNumber", ["finalized", False])


async def read_block(node: EvmNode, number: int, finality: Finality) -> BlockContent | None:
    """Block ``number`` with all results, None when this node does not have it at that finality. A transaction that
    makes no sense is listed as unreadable: one of somebody else must not hold up ours.

    Raises InconsistentNode, Partial where receipts are missing, NodeFailure (also when a reorg came between block and
    receipts).
    """
    requests: list[Request] = [("eth_getBlockByNumber", [hex(number), True])]
    if finality is Finality.FINAL:
        requests.append(_FINALIZED)
    if node.has_block_receipts:
        requests.append(("eth_getBlockReceipts", [hex(number)]))
    answers = await node.batch(requests)
    answer = wanted(answers[0])
    if answer is None or (finality is Finality.FINAL and block_ref(node, wanted(answers[1])).number < number):
        return None
    block = block_ref(node, answer, number)
    with reading(node, f"block {number}"):
        parent = hash_text(field(answer, "parentHash"), "parentHash")
        listed = sequence(field(answer, "transactions"), "transactions")
        transactions = {hash_text(field(one, "hash"), "a transaction's hash"): one for one in listed}
        if len(transactions) != len(listed):
            raise MalformedAnswer("transactions", len(listed), f"{len(transactions)} different ones")
    receipts = await _receipts(node, block, list(transactions), answers[-1] if node.has_block_receipts else None)
    for txid, receipt in receipts.items():
        if txid in transactions:
            _check_place(node, block, txid, transactions[txid], receipt)

    def read(txid: str) -> TransactionResult:
        return _result(node, block, txid, transactions[txid], receipts[txid])

    return content_of(node, block, parent, transactions, receipts, read)


async def read_transaction(node: EvmNode, txid: str, finality: Finality) -> TransactionResult | None:
    """The result of one transaction, None when this node knows of none at that finality.

    Raises InconsistentNode for another transaction's receipt, NodeFailure.
    """
    # Before the receipt: what is final now was included before.
    final = await node.block_ref(Finality.FINAL) if finality is Finality.FINAL else None
    answers = await node.batch([("eth_getTransactionReceipt", [txid]), ("eth_getTransactionByHash", [txid])])
    receipt, transaction = (wanted(answer) for answer in answers)
    if receipt is None:
        return None
    with reading(node, f"the receipt of {txid}"):
        number = quantity(field(receipt, "blockNumber"), "blockNumber", MAX_HEIGHT)
    if final is not None and final.number < number:
        return None
    if transaction is None:
        raise NodeFailure("no transaction", f"{node.name} has a receipt of {txid} but not the transaction")
    block = await node.block_ref(finality, number)
    if final is not None:
        await _check_final(node, final)
    with reading(node, f"transaction {txid}"):
        found = hash_text(field(transaction, "hash"), "hash")
    if found != txid:
        raise InconsistentNode(f"node {node.name} was asked for transaction {txid} and answered {found}")
    _check_place(node, block, txid, transaction, receipt)
    return _result(node, block, txid, transaction, receipt)


async def _check_final(node: EvmNode, final: BlockRef) -> None:
    """Raises NodeFailure unless the block that is called final stands at that height: one wrong digit in one answer
    would make everything below it final."""
    there = await node.block_ref(Finality.FINAL, final.number)
    if there.id != final.id:
        raise NodeFailure(
            "reorg", f"{node.name} calls {final.id} at height {final.number} final and has {there.id} there"
        )


async def _receipts(node: EvmNode, block: BlockRef, txids: Sequence[str], answer: Any) -> dict[str, Any]:
    """The receipts of a block by transaction. Those that its list lacks are asked for singly; what is missing then,
    this node does not have. Raises NodeFailure."""
    if isinstance(answer, RpcError) and answer.rpc_code == METHOD_NOT_FOUND:
        node.has_block_receipts = False
    receipts: dict[str, Any] = {}
    if isinstance(answer, list):
        for one in sequence(answer, "receipts") if len(answer) <= 2 * len(txids) else ():
            txid = one.get("transactionHash") if isinstance(one, dict) else None
            if isinstance(txid, str):
                receipts[txid.lower()] = one
    missing = [txid for txid in txids if txid not in receipts]
    for txid, found in zip(missing, await _each_receipt(node, missing), strict=True):
        if isinstance(found, NodeFailure) or found is None:
            continue
        with reading(node, f"the receipt of {txid}"):
            named = hash_text(field(found, "transactionHash"), "transactionHash")
        if named != txid:
            raise InconsistentNode(f"node {node.name} gave the receipt of {named} for transaction {txid}")
        receipts[txid] = found
    if txids and not receipts.keys() & set(txids):
        raise NodeFailure("no receipts", f"{node.name} has no receipts of block {block.number}")
    return receipts


async def _each_receipt(node: EvmNode, txids: Sequence[str]) -> list[Any]:
    return await node.batch([("eth_getTransactionReceipt", [one]) for one in txids])


def _check_place(node: EvmNode, block: BlockRef, txid: str, transaction: Any, receipt: Any) -> None:
    """Raises InconsistentNode for the receipt of another transaction, NodeFailure for one of another block."""
    with reading(node, f"a transaction of block {block.number}"):
        receipt_of = hash_text(field(receipt, "transactionHash"), "transactionHash")
        places = {hash_text(field(receipt, "blockHash"), "blockHash")}
        heights = {quantity(field(receipt, "blockNumber"), "blockNumber", MAX_HEIGHT)}
        if field(transaction, "blockHash") is not None:
            places.add(hash_text(field(transaction, "blockHash"), "blockHash"))
    if receipt_of != txid:
        raise InconsistentNode(f"node {node.name} gave the receipt of {receipt_of} for transaction {txid}")
    if places != {block.id} or heights != {block.number}:
        other = ", ".join(sorted(places - {block.id})) or ", ".join(map(str, heights))
        raise NodeFailure(
            "reorg", f"{node.name} has {txid} in block {other} and now {block.id} at height {block.number}"
        )


def _result(node: EvmNode, block: BlockRef, txid: str, transaction: Any, receipt: Any) -> TransactionResult:
    with reading(node, f"the receipt of {txid}"):
        success = quantity(field(receipt, "status"), "status", 1) == 1
        used = quantity(field(receipt, "gasUsed"), "gasUsed", MAX_COUNT)
        limit = quantity(field(transaction, "gas"), "gas", MAX_COUNT)
        price = field(receipt, "effectiveGasPrice") or field(transaction, "gasPrice")
        fee = used * quantity(price, "effectiveGasPrice", MAX_PRICE)
        fee += l1_fee.paid(receipt, used) if node.charges_l1_fee else 0
        effects = _effects(block, txid, transaction, receipt) if success else ()
        sender, nonce = _sender(transaction, receipt), quantity(field(transaction, "nonce"), "nonce", MAX_COUNT)
        message = "" if success else ("OUT_OF_GAS" if used >= limit else "REVERT")
        signed = delegations.read(transaction)
        return TransactionResult(txid, block, success, fee, effects, message, sender, nonce, signed)


def _sender(transaction: Any, receipt: Any) -> str:
    """Raises MalformedAnswer, also where transaction and receipt name two."""
    sender, again = _address(field(transaction, "from")), field(receipt, "from")
    if again is not None and _address(again) != sender:
        raise MalformedAnswer("from", again, sender)
    return sender


def _effects(block: BlockRef, txid: str, transaction: Any, receipt: Any) -> tuple[Effect, ...]:
    value, to = quantity(field(transaction, "value"), "value"), field(transaction, "to")
    own = []
    if value and to is not None:
        own.append(Effect(None, _address(field(transaction, "from")), _address(to), value, "v"))
    logs = enumerate(sequence(field(receipt, "logs"), "logs"))
    moved = (_logged(block, txid, log, f"l{position}") for position, log in logs)
    return (*own, *(effect for effect in moved if effect is not None))


def _logged(block: BlockRef, txid: str, log: Any, place: str) -> Effect | None:
    """The Transfer that a log of a receipt records. Raises MalformedAnswer for a log of another transaction or block,
    as far as it names one, and for one that is ``removed``: in a receipt none is, and without it a payment would seem
    not to have happened."""
    fields = mapping(log, "a log")
    if fields.get("removed"):
        raise MalformedAnswer("removed", fields["removed"], "false, as in every receipt")
    for name, wanted_value in (("transactionHash", txid), ("blockHash", block.id)):
        found = fields.get(name)
        if found is not None and found != wanted_value and hash_text(found, name) != wanted_value:
            raise MalformedAnswer(f"a log's {name}", found, wanted_value)
    return log_transfer(fields, place)


def log_transfer(log: Any, place: str | None) -> Effect | None:
    """The Transfer that a log records, in the ``place`` of its effect; None for any other event, an NFT's Transfer
    (four topics) among them, and for words in the place of addresses: a contract may log what it likes. Raises
    MalformedAnswer."""
    fields = mapping(log, "a log")
    topics, data = sequence(fields.get("topics"), "topics", 4), fields.get("data")
    if len(topics) != 3 or (topics[0] != TRANSFER_TOPIC and hash_text(topics[0], "a topic") != TRANSFER_TOPIC):
        return None
    sender, receiver = _party(topics[1]), _party(topics[2])
    amount = hex_bytes(data, "data", "0x")
    if len(amount) != 32 or sender is None or receiver is None:
        return None
    return Effect(_address(fields.get("address")), sender, receiver, int.from_bytes(amount, "big"), place)


def _party(topic: Any) -> str | None:
    """The address in a topic; None for a word that is none. Raises MalformedAnswer for what is no topic."""
    found = _ADDRESS_WORD.fullmatch(topic) if isinstance(topic, str) else None
    if found is None:
        hash_text(topic, "a topic")
        return None
    return address.from_bytes(bytes.fromhex(found[1]))


def _address(digits: Any) -> str:
    """The checksummed form. Raises MalformedAnswer."""
    if not isinstance(digits, str):
        raise MalformedAnswer("an address", digits, "20 bytes")
    try:
        return address.from_word(digits)
    except InvalidAddress:
        raise MalformedAnswer("an address", digits, "20 bytes") from None
