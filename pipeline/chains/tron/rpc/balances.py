"""Many balances in one call: a simulated contract creation whose constructor reads them all.

Nothing is deployed and nothing is paid; see contracts/BatchBalances.sol. A call that is too much for the
node (energy, its 80 ms of CPU) is halved, and the size that passed is remembered.
"""

from pipeline.chains.rpc.answers import MAX_HEIGHT, MalformedAnswer
from pipeline.chains.rpc.batch import BalanceEntry, balances_of, block_of, creation_code
from pipeline.chains.rpc.batch_reader import BatchReader, TooMuch
from pipeline.chains.rpc.http import NodeFailure
from pipeline.chains.rpc.nodes import Nodes
from pipeline.chains.tron.codec import address
from pipeline.chains.tron.rpc.constant import tried
from pipeline.chains.tron.rpc.node import TronNode, reading
from pipeline.chains.values import Balance, BlockRef, Finality

LARGEST_CHUNK = 500
"""Entries in one call: 16.5 kB of answer, below the 24 kB that some machines allow as code."""
FIRST_CHUNK = 200

_NOBODY = "41" + "00" * 20


def reader(nodes: Nodes[TronNode]) -> BatchReader[TronNode, Finality]:
    return BatchReader(nodes, address.to_tail, _call, first_chunk=FIRST_CHUNK, largest_chunk=LARGEST_CHUNK)


async def _call(node: TronNode, part: list[BalanceEntry], finality: Finality) -> list[Balance]:
    answer = await node.call(
        "triggerconstantcontract", finality, {"owner_address": _NOBODY, "data": creation_code(part).hex()}
    )
    call = tried(node, answer, "a balance call")
    reason = call.message or call.code or "the node gave no reason"
    if call.code == "CONTRACT_VALIDATE_ERROR":
        # Not about this call: the node runs without constant calls, or without creation in them.
        raise NodeFailure("node error", f"{node.name} refuses to simulate the reading of balances: {reason}")
    if not call.succeeded:
        raise TooMuch(reason)
    with reading(node, f"a read of {len(part)} balances"):
        number, seconds = block_of(call.returned, len(part))
        if number > MAX_HEIGHT:
            raise MalformedAnswer("the block", number, "a height")
    block = await _block(node, number, finality)
    if int(block.timestamp.timestamp()) != seconds:
        raise NodeFailure("fork", f"{node.name} read balances at another block {number} than it has now")
    return balances_of(call.returned, part, block, "a TRC20")


async def _block(node: TronNode, number: int, finality: Finality) -> BlockRef:
    """The block that a call was executed at. A final one does not change and is asked for once."""
    kept = node.last_final_block
    if finality is Finality.FINAL and kept is not None and kept.number == number:
        return kept
    block = await node.block_ref(finality, number)
    if finality is Finality.FINAL:
        node.last_final_block = block
    return block
