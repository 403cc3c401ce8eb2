"""Proof that a transaction is final or dead, all of it from one node.

Nothing on EVM expires. A transaction is dead when its nonce was used, in a final block, by another one.
"""

from collections.abc import Sequence

from pipeline.chains.evm.rpc.blocks import read_transaction
from pipeline.chains.evm.rpc.node import EvmNode, block_ref, hash_text, reading, wanted
from pipeline.chains.rpc.answers import MAX_COUNT, field, quantity, sequence
from pipeline.chains.values import BlockRef, Finality, Proof, SignedTransaction, Verdict

_BLOCKS_READ = 32
"""For one that is not empty, from the oldest that may hold the transaction on."""


async def read_verdicts(node: EvmNode, attempts: Sequence[SignedTransaction]) -> list[Verdict]:
    """The status of each transaction that shares a sender and a nonce; at most one of them is FINAL.

    All DEAD means that somebody else used the nonce: the evidence says so.
    Raises ValueError for attempts that do not share it, InconsistentNode, NodeFailure.
    """
    sender, nonce = shared(attempts)
    # The height first: a block that became final between the two questions could hold what was not found yet.
    before = await node.block_ref(Finality.FINAL)
    results = [await read_transaction(node, one.txid, Finality.FINAL) for one in attempts]
    for index, result in enumerate(results):
        if result is not None:
            where = f"{node.name}: {result.txid} is in final block {result.block.number} {result.block.id}"
            dead = Verdict(Proof.DEAD, None, f"{where} and used nonce {nonce} of {sender}: replaced")
            verdicts = [dead] * len(attempts)
            verdicts[index] = Verdict(Proof.FINAL, result, where)
            return verdicts
    return [await _unless_dead(node, attempts, before)] * len(attempts)


async def _unless_dead(node: EvmNode, attempts: Sequence[SignedTransaction], final: BlockRef) -> Verdict:
    sender, nonce = shared(attempts)
    count = await _nonce_at(node, sender, final)
    if count <= nonce:
        so_far = f"{node.name}: {sender} has used nonces below {count} up to final block {final.number}"
        return Verdict(Proof.OPEN, None, f"{so_far}; {nonce} is open")
    used = f"{node.name}: nonce {nonce} of {sender} is used at final block {final.number} {final.id} (next is {count})"
    oldest = min((one.ref_block for one in attempts if one.ref_block is not None), default=None)
    if oldest is None:
        return Verdict(Proof.OPEN, None, f"{used}, but no height is recorded from which on its receipts must be there")
    missing = await _lacks_history(node, oldest, final)
    if missing:
        return Verdict(Proof.OPEN, None, f"{used}, but {missing}")
    # Again, and at any height: a node further behind may have answered the first time.
    for one in attempts:
        if await read_transaction(node, one.txid, Finality.HEAD) is not None:
            return Verdict(Proof.OPEN, None, f"{used}, and {one.txid} is in a block that is not final yet")
    after = await node.block_ref(Finality.FINAL)
    if after.number < final.number:
        return Verdict(Proof.OPEN, None, f"{node.name}: final height went back from {final.number} to {after.number}")
    return Verdict(
        Proof.DEAD,
        None,
        f"{used} and none of the {len(attempts)} transaction(s) asked about has a receipt: if these are all of ours, "
        f"it was used outside",
    )


async def _nonce_at(node: EvmNode, sender: str, block: BlockRef) -> int:
    answer = await node.call("eth_getTransactionCount", sender, {"blockHash": block.id})
    with reading(node, "eth_getTransactionCount"):
        return quantity(answer, "the count", MAX_COUNT)


async def _lacks_history(node: EvmNode, oldest: int, final: BlockRef) -> str:
    """Why this node cannot know: it must still have receipts from ``oldest`` on.

    A node that prunes its index finds no older transaction, and says so in the same words as for one that does
    not exist. So it has to find one that does.
    """
    for number in range(oldest, min(final.number, oldest + _BLOCKS_READ) + 1):
        answer = await node.call("eth_getBlockByNumber", hex(number), False)
        if answer is None:
            return f"it does not have block {number}"
        block_ref(node, answer, number)
        with reading(node, f"block {number}"):
            sample = next(iter(sequence(field(answer, "transactions"), "transactions")), None)
            sample = None if sample is None else hash_text(sample, "a transaction")
        if sample is not None:
            found = await node.batch([("eth_getTransactionReceipt", [sample])])
            return "" if wanted(found[0]) is not None else f"it has no receipts of block {number}"
    return ""


def shared(attempts: Sequence[SignedTransaction]) -> tuple[str, int]:
    """Sender and nonce of all attempts. Raises ValueError for those that do not share them."""
    shared = {(one.sender, one.nonce) for one in attempts}
    if len(shared) != 1:
        raise ValueError(f"{len(attempts)} transactions with {len(shared)} senders and nonces: they must share them")
    sender, nonce = shared.pop()
    if nonce is None:
        raise ValueError(f"transaction {attempts[0].txid} has no nonce: it is not one of an EVM chain")
    return sender, nonce
