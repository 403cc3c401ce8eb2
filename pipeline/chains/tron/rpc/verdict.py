"""Proof that a transaction is final or dead, all of it from one node."""

from datetime import timedelta

from pipeline.chains.tron.codec.transaction import decode, split
from pipeline.chains.tron.rpc.blocks import read_transaction
from pipeline.chains.tron.rpc.node import TronNode
from pipeline.chains.values import BlockRef, Finality, Proof, SignedTransaction, Verdict

DEATH_MARGIN = timedelta(seconds=15)
"""A block takes a transaction only while its parent is older than the expiration, so the first solid block at or
past the expiration is the last that can hold it. The margin is for a node behind which several answer: five
blocks that one of them may be behind the other."""


async def read_verdict(node: TronNode, signed: SignedTransaction, margin: timedelta = DEATH_MARGIN) -> Verdict:
    """FINAL, DEAD or OPEN. Raises InconsistentNode, NodeFailure; UndecodableTransaction for bytes that are no payment.

    The order matters: the solid height is read before the lookup, or a block solidified between the two
    could hold what the lookup did not find yet; and again after it, in case a node further behind answered.
    """
    before = await node.block_ref(Finality.FINAL)
    result = await read_transaction(node, signed.txid, Finality.FINAL)
    if result is not None:
        return Verdict(Proof.FINAL, result, f"{node.name}: in solid block {result.block.number} {result.block.id}")
    if signed.expiration is None:
        return Verdict(Proof.OPEN, None, "it has no expiration, so nothing proves that it cannot land")
    if not _past(before, signed, margin):
        return Verdict(Proof.OPEN, None, _so_far(node, before, signed))
    missing = await _lacks_history(node, signed)
    if missing:
        return Verdict(Proof.OPEN, None, missing)
    after = await node.block_ref(Finality.FINAL)
    if after.number < before.number or not _past(after, signed, margin):
        return Verdict(Proof.OPEN, None, f"{node.name}: solid height went back from {before.number} to {after.number}")
    return Verdict(
        Proof.DEAD,
        None,
        f"{node.name}: not in any solid block up to {before.number} {before.id} of {before.timestamp.isoformat()}; "
        f"expired {signed.expiration.isoformat()}",
    )


async def _lacks_history(node: TronNode, signed: SignedTransaction) -> str:
    """Why this node cannot know: it must have the very block that the transaction refers to.

    A node started from a recent snapshot finds no older transaction, and says so in the same words as for
    one that does not exist.
    """
    if signed.ref_block is None:
        return "the block it refers to is not recorded, so a node's history cannot be checked"
    raw = decode(split(signed.raw)[0])
    block = await node.block_ref(Finality.FINAL, signed.ref_block)
    if bytes.fromhex(block.id)[8:16] != raw.ref_block_hash:
        return f"{node.name}: block {block.number} is {block.id}, not the one that the transaction refers to"
    return ""


def _past(block: BlockRef, signed: SignedTransaction, margin: timedelta) -> bool:
    return signed.expiration is not None and block.timestamp >= signed.expiration + margin


def _so_far(node: TronNode, block: BlockRef, signed: SignedTransaction) -> str:
    return (
        f"{node.name}: not found up to solid block {block.number} of {block.timestamp.isoformat()}, "
        f"which is not past {signed.expiration} yet"
    )
