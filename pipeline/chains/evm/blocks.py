"""From a node's blocks, transactions and receipts to results that can be trusted as far as they can be checked.

Coins moved inside contracts are in no receipt and not seen here; a payment of ours carries its coins itself.
"""

from collections.abc import Sequence
from typing import Any

from loguru import logger

from pipeline.chains.errors import InvalidAddress, LyingNode
from pipeline.chains.evm import address, delegations, l1_fee
from pipeline.chains.evm.node import METHOD_NOT_FOUND, EvmNode, Request, RpcError, block_ref, hash_text, reading, wanted
from pipeline.chains.http import NodeFailure
from pipeline.chains.provider import BlockContent, BlockRef, Effect, Finality, TransactionResult

TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")"""

_FINALIZED: Request = ("eth_getBlockByNumber", ["finalized", False])


async def read_block(node: EvmNode, number: int, finality: Finality) -> BlockContent | None:
    """Block ``number`` with all results, None when this node does not have it at that finality. A transaction that
    makes no sense is listed as unreadable: a stranger's must not hold up ours.

    Raises LyingNode, NodeFailure (also when a reorg came between block and receipts).
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
        parent, transactions = hash_text(answer["parentHash"]), list(answer["transactions"])
    receipts: Any = answers[-1]
    if isinstance(receipts, RpcError) and receipts.rpc_code == METHOD_NOT_FOUND:
        node.has_block_receipts = False
    if not node.has_block_receipts:
        receipts = await _each_receipt(node, transactions)
    if wanted(receipts) is None or len(receipts) != len(transactions):
        raise NodeFailure("no receipts", f"{node.name} has not all receipts of block {number}")
    results, unreadable = [], set()
    for transaction, receipt in zip(transactions, receipts, strict=True):
        txid = _placed(node, block, transaction, receipt)
        try:
            results.append(_result(node, block, txid, transaction, receipt))
        except NodeFailure as failure:
            unreadable.add(txid)
            logger.debug("{}", failure)
    return BlockContent(block, parent, tuple(results), frozenset(unreadable))


async def read_transaction(node: EvmNode, txid: str, finality: Finality) -> TransactionResult | None:
    """The result of one transaction, None when this node knows of none at that finality.

    Raises LyingNode for another transaction's receipt, NodeFailure.
    """
    requests: list[Request] = [("eth_getTransactionReceipt", [txid]), ("eth_getTransactionByHash", [txid])]
    if finality is Finality.FINAL:
        # Before the receipt: what is final now was included before.
        requests.insert(0, _FINALIZED)
    answers = [wanted(answer) for answer in await node.batch(requests)]
    receipt, transaction = answers[-2:]
    if receipt is None:
        return None
    with reading(node, f"the receipt of {txid}"):
        number = int(receipt["blockNumber"], 16)
    if finality is Finality.FINAL and block_ref(node, answers[0]).number < number:
        return None
    if transaction is None:
        raise NodeFailure("no transaction", f"{node.name} has a receipt of {txid} but not the transaction")
    block = await node.block_ref(finality, number)
    found = _placed(node, block, transaction, receipt)
    if found != txid:
        raise LyingNode(f"node {node.name} was asked for transaction {txid} and answered {found}")
    return _result(node, block, txid, transaction, receipt)


async def _each_receipt(node: EvmNode, transactions: Sequence[Any]) -> list[Any]:
    with reading(node, "a block's transactions"):
        hashes = [hash_text(transaction["hash"]) for transaction in transactions]
    return [wanted(one) for one in await node.batch([("eth_getTransactionReceipt", [one]) for one in hashes])]


def _placed(node: EvmNode, block: BlockRef, transaction: Any, receipt: Any) -> str:
    """The id of a transaction whose receipt says that it stands in that block. Raises LyingNode, NodeFailure."""
    if receipt is None:
        raise NodeFailure("no receipt", f"{node.name} has no receipt for a transaction of block {block.number}")
    with reading(node, f"a transaction of block {block.number}"):
        txid, receipt_of = hash_text(transaction["hash"]), hash_text(receipt["transactionHash"])
        place = hash_text(receipt["blockHash"])
    if receipt_of != txid:
        raise LyingNode(f"node {node.name} gave the receipt of {receipt_of} for transaction {txid}")
    if place != block.id:
        raise NodeFailure(
            "reorg", f"{node.name} has {txid} in block {place} and now {block.id} at height {block.number}"
        )
    return txid


def _result(node: EvmNode, block: BlockRef, txid: str, transaction: Any, receipt: Any) -> TransactionResult:
    with reading(node, f"the receipt of {txid}"):
        success = int(receipt["status"], 16) == 1
        used, limit = int(receipt["gasUsed"], 16), int(transaction["gas"], 16)
        price = int(receipt.get("effectiveGasPrice") or transaction["gasPrice"], 16)
        fee = used * price + (l1_fee.paid(receipt, used) if node.books_l1_fee else 0)
        effects = _effects(transaction, receipt) if success else ()
        sender, nonce = _address(transaction["from"]), int(transaction["nonce"], 16)
        message = "" if success else ("OUT_OF_GAS" if used >= limit else "REVERT")
        signed = delegations.read(transaction)
        return TransactionResult(txid, block, success, fee, effects, message, sender, nonce, signed)


def _effects(transaction: Any, receipt: Any) -> tuple[Effect, ...]:
    value, to = int(transaction["value"], 16), transaction.get("to")
    own = [Effect(None, _address(transaction["from"]), _address(to), value)] if value and to else []
    logs = (log_transfer(log) for log in receipt["logs"] if not log.get("removed"))
    return (*own, *(effect for effect in logs if effect is not None))


def log_transfer(log: Any) -> Effect | None:
    """The Transfer that a log records; None for any other event, an NFT's Transfer (four topics) among them, and for
    words in the place of addresses: a contract may log what it likes."""
    topics, data = log["topics"], log["data"]
    if len(topics) != 3 or topics[0].lower() != TRANSFER_TOPIC or len(data) != 66:
        return None
    parties = [bytes.fromhex(topic.removeprefix("0x")) for topic in topics[1:]]
    if any(len(word) == 32 and any(word[:12]) for word in parties):
        return None
    return Effect(_address(log["address"]), _address(topics[1]), _address(topics[2]), int(data, 16))


def _address(digits: str) -> str:
    try:
        return address.from_word(digits)
    except InvalidAddress as error:
        raise ValueError(str(error)) from error
